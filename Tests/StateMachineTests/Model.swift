import EtcdAPI

/// etcd's behaviour, written as plainly as it can be: every revision is a whole dictionary. Knows no store, no bytes.
struct Model {
    struct Event: Hashable {
        var revision: Int64
        var sub: UInt32
        var kv: KV
        var isDeletion: Bool
    }

    private(set) var revision: Int64 = 1
    private(set) var compacted: Int64 = -1
    /// The state at each revision.
    private(set) var states: [Int64: [Bytes: KV]] = [1: [:]]
    private(set) var leases: [Int64: Int64] = [:]
    private(set) var events: [Event] = []

    var live: [Bytes: KV] { states[revision] ?? [:] }

    func keys(of lease: Int64) -> [Bytes] { sorted(live.values.filter { $0.lease == lease }).map(\.key) }

    // MARK: - Requests

    mutating func put(_ request: PutMessage) -> Result<PutReply, EtcdError> {
        if request.lease != 0, leases[request.lease] == nil { return .failure(.leaseNotFound) }
        if request.ignoreValue || request.ignoreLease, live[request.key] == nil { return .failure(.keyNotFound) }
        var change = Change(state: live, base: revision)
        var reply = change.put(request)
        finish(change)
        reply.header = header(revision)
        return .success(reply)
    }

    mutating func delete(_ request: DeleteMessage) -> Result<DeleteReply, EtcdError> {
        var change = Change(state: live, base: revision)
        var reply = change.delete(request)
        finish(change)
        reply.header = header(revision)
        return .success(reply)
    }

    func range(_ request: RangeMessage) -> Result<RangeReply, EtcdError> {
        if request.revision > revision { return .failure(.futureRevision) }
        if request.revision > 0, request.revision < compacted { return .failure(.compacted) }
        let state = states[request.revision > 0 ? request.revision : revision] ?? [:]
        return .success(select(request, from: state, header: header(revision)))
    }

    mutating func txn(_ request: TxnMessage) -> Result<TxnReply, EtcdError> {
        let before = live
        for check in [checkPut, checkRange] {
            for operation in taken(request, on: before) {
                if let error = check(operation, before) { return .failure(error) }
            }
        }
        var change = Change(state: before, base: revision)
        var reply = run(request, before: before, &change)
        finish(change)
        reply.header = header(revision)
        return .success(reply)
    }

    mutating func compact(_ to: Int64) -> Result<Int64, EtcdError> {
        if to <= compacted { return .failure(.compacted) }
        if to > revision { return .failure(.futureRevision) }
        compacted = to
        return .success(revision)
    }

    mutating func grant(_ id: Int64, seconds: Int64) -> Result<Int64, EtcdError> {
        if seconds > 9_000_000_000 { return .failure(.leaseTimeToLiveTooLarge) }
        if leases[id] != nil { return .failure(.leaseExists) }
        leases[id] = max(seconds, 2)
        return .success(max(seconds, 2))
    }

    mutating func revoke(_ id: Int64) -> Result<Int64, EtcdError> {
        if leases[id] == nil { return .failure(.leaseNotFound) }
        var change = Change(state: live, base: revision)
        for key in keys(of: id) { _ = change.delete(DeleteMessage(key)) }
        leases[id] = nil
        finish(change)
        return .success(revision)
    }

    // MARK: - Parts

    private mutating func finish(_ change: Change) {
        guard !change.events.isEmpty else { return }
        revision += 1
        states[revision] = change.state
        events += change.events
    }

    private func checkPut(_ operation: OperationMessage, _ before: [Bytes: KV]) -> EtcdError? {
        guard case .put(let request) = operation else { return nil }
        if request.ignoreValue || request.ignoreLease, before[request.key] == nil { return .keyNotFound }
        return request.lease != 0 && leases[request.lease] == nil ? .leaseNotFound : nil
    }

    private func checkRange(_ operation: OperationMessage, _ before: [Bytes: KV]) -> EtcdError? {
        guard case .range(let request) = operation, request.revision != 0 else { return nil }
        if request.revision > revision { return .futureRevision }
        return request.revision < compacted ? .compacted : nil
    }

    /// The operations that run, nested ones in place.
    private func taken(_ request: TxnMessage, on before: [Bytes: KV]) -> [OperationMessage] {
        let branch = request.compares.allSatisfy { holds($0, on: before) } ? request.success : request.failure
        return branch.flatMap { operation in
            if case .txn(let nested) = operation { taken(nested, on: before) } else { [operation] }
        }
    }

    private func run(_ request: TxnMessage, before: [Bytes: KV], _ change: inout Change) -> TxnReply {
        var reply = TxnReply(header: Header(), succeeded: request.compares.allSatisfy { holds($0, on: before) })
        for operation in reply.succeeded ? request.success : request.failure {
            switch operation {
            case .range(let range):
                let present = Header(revision: change.revision)
                let state = range.revision > 0 ? states[range.revision] ?? [:] : change.state
                reply.responses.append(.range(select(range, from: state, header: present)))
            case .put(let put): reply.responses.append(.put(change.put(put)))
            case .delete(let delete): reply.responses.append(.delete(change.delete(delete)))
            case .txn(let nested): reply.responses.append(.txn(run(nested, before: before, &change)))
            case .empty: break
            }
        }
        return reply
    }

    private func holds(_ compare: CompareMessage, on state: [Bytes: KV]) -> Bool {
        let found = state.values.filter { isIn($0.key, compare.key, compare.end) }
        if found.isEmpty { return compare.target != .value && holds(compare, for: KV()) }
        return found.allSatisfy { holds(compare, for: $0) }
    }

    private func holds(_ compare: CompareMessage, for kv: KV) -> Bool {
        var number: Int64 = 0
        var value: Bytes = []
        switch compare.arm {
        case .number(let target, let given) where target == compare.target: number = given
        case .value(let given): value = given
        default: break
        }
        func judge<Operand: Equatable>(_ a: Operand, _ b: Operand, _ isLess: (Operand, Operand) -> Bool) -> Bool {
            switch compare.result {
            case .equal: a == b
            case .notEqual: a != b
            case .greater: isLess(b, a)
            case .less: isLess(a, b)
            }
        }
        switch compare.target {
        case .version: return judge(kv.version, number, <)
        case .create: return judge(kv.create, number, <)
        case .mod: return judge(kv.mod, number, <)
        case .lease: return judge(kv.lease, number, <)
        case .value: return judge(kv.value, value) { $0.lexicographicallyPrecedes($1) }
        }
    }

    private func select(_ request: RangeMessage, from state: [Bytes: KV], header: Header) -> RangeReply {
        var kvs = sorted(state.values.filter { isIn($0.key, request.key, request.end) })
        var reply = RangeReply(header: header, count: Int64(kvs.count))
        if request.countOnly { return reply }
        let isFiltered = [request.minMod, request.maxMod, request.minCreate, request.maxCreate].contains { $0 != 0 }
        if request.sortOrder == 0, !isFiltered, request.limit > 0 { kvs = Array(kvs.prefix(Int(request.limit) + 1)) }
        kvs.removeAll { kv in
            request.minMod != 0 && kv.mod < request.minMod || request.maxMod != 0 && kv.mod > request.maxMod
                || request.minCreate != 0 && kv.create < request.minCreate
                || request.maxCreate != 0 && kv.create > request.maxCreate
        }
        let sign = request.sortOrder == 2 ? -1 : 1
        let ranked = kvs.enumerated().sorted { a, b in
            let order = sign * compare(a.element, b.element, by: request.sortTarget)
            return order == 0 ? a.offset < b.offset : order < 0
        }
        kvs = ranked.map(\.element)
        reply.more = request.limit > 0 && kvs.count > request.limit
        if reply.more { kvs = Array(kvs.prefix(Int(request.limit))) }
        if request.keysOnly { for position in kvs.indices { kvs[position].value = [] } }
        reply.kvs = kvs
        return reply
    }

    private func compare(_ a: KV, _ b: KV, by target: Int64) -> Int {
        func order(_ a: Int64, _ b: Int64) -> Int { a < b ? -1 : a > b ? 1 : 0 }
        func order(_ a: Bytes, _ b: Bytes) -> Int {
            a.lexicographicallyPrecedes(b) ? -1 : b.lexicographicallyPrecedes(a) ? 1 : 0
        }
        switch target {
        case 1: return order(a.version, b.version)
        case 2: return order(a.create, b.create)
        case 3: return order(a.mod, b.mod)
        case 4: return order(a.value, b.value)
        default: return order(a.key, b.key)
        }
    }

    /// One request's changes.
    private struct Change {
        var state: [Bytes: KV]
        let base: Int64
        var events: [Event] = []

        var revision: Int64 { events.isEmpty ? base : base + 1 }

        mutating func put(_ request: PutMessage) -> PutReply {
            let old = state[request.key]
            let new = KV(
                key: request.key, create: old?.create ?? base + 1, mod: base + 1, version: (old?.version ?? 0) + 1,
                value: request.ignoreValue ? old?.value ?? [] : request.value,
                lease: request.ignoreLease ? old?.lease ?? 0 : request.lease)
            state[request.key] = new
            events.append(Event(revision: base + 1, sub: UInt32(events.count), kv: new, isDeletion: false))
            return PutReply(header: Header(revision: base + 1), previous: request.prevKV ? old : nil)
        }

        mutating func delete(_ request: DeleteMessage) -> DeleteReply {
            let found = sorted(state.values.filter { isIn($0.key, request.key, request.end) })
            for kv in found {
                state[kv.key] = nil
                let tombstone = KV(key: kv.key, mod: base + 1)
                events.append(Event(revision: base + 1, sub: UInt32(events.count), kv: tombstone, isDeletion: true))
            }
            return DeleteReply(
                header: Header(revision: revision), deleted: Int64(found.count),
                previous: request.prevKV ? found : [])
        }
    }
}

private func sorted(_ kvs: [KV]) -> [KV] { kvs.sorted { $0.key.lexicographicallyPrecedes($1.key) } }

private func isIn(_ key: Bytes, _ start: Bytes, _ end: Bytes) -> Bool {
    if end.isEmpty { return key == start }
    let isAbove = !key.lexicographicallyPrecedes(start)
    return isAbove && (end == [0] || key.lexicographicallyPrecedes(end))
}
