import EtcdAPI
import FoundationEssentials
import StateMachine
import Store
import SwiftProtobuf
import TestSupport
import Testing
import Vocabulary

/// Random requests to a state machine and to the model at once.
private struct LockRun {
    let machine: Machine
    var model = LockModel()
    var random: SeededGenerator
    /// Places that were ever entered: for stale tokens.
    var known: [LockModel.Place] = []

    init(seed: UInt64) throws {
        machine = try Machine()
        random = SeededGenerator(seed: seed)
    }

    static let names = ["a", "b", "a/b", "k1"]
    static let plainKeys = ["a", "b", "k1", "k2", "a/plain", "z"]

    mutating func pick<T>(_ values: [T]) -> T { values[Int.random(in: 0..<values.count, using: &random)] }
    mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }
    mutating func lease() -> Int64 { .random(in: 1...18, using: &random) }

    /// What happened in the last batch.
    var happened: [LockModel.Happening] {
        (machine.lastBatch?.lineEvents ?? []).map { .init(kind: $0.kind, token: $0.token.value) }
    }

    mutating func step() throws {
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<34: try acquire()
        case 34..<42: try enterAsEtcd()
        case 42..<58: try release()
        case 58..<62: try breakPlace()
        case 62..<69: try endLease()
        case 69..<73: try grant()
        case 73..<82: try plainWrite()
        case 82..<93: try provenWrite()
        case 93..<97: try deleteRange()
        default: try compareLines()
        }
    }

    /// Runs a request whose refusal the model foresaw; the error's beginning must be as said.
    private func expect(refusal: String?, _ body: () throws -> Void) throws {
        do {
            try body()
            try #require(refusal == nil, "accepted, but should have been refused with \(refusal ?? "")")
        } catch let error as EtcdError {
            let wanted = try #require(refusal, "refused with \(error)")
            try #require(error.message.hasPrefix(wanted))
            try #require(machine.lastBatch?.lineEvents.isEmpty ?? true)
        }
    }

    private mutating func acquire() throws {
        var message = AcquireMessage(pick(Self.names), lease: lease())
        message.ttl = chance(80) ? 10 : 0
        message.mode = pick(LockMode.allCases)
        message.permits = message.mode == .permit ? .random(in: 1...4, using: &random) : 0
        message.waitMilliseconds = chance(30) ? 0 : nil
        switch Int.random(in: 0..<4, using: &random) {
        case 0: message.guards = []
        case 1: message.guards = [pick([("k", "l"), ("a", "b"), ("a/", "a0")])]
        case 2: message.guards = [("z", ""), ("k2", "")]
        default: break
        }
        var place = LockModel.Place(name: message.name, lease: message.lease, token: 0)
        place.mode = message.mode
        place.permits = message.permits
        place.guards = message.guards ?? [(message.name, "")]
        place.isProtected = true
        let line = model.lines[message.name] ?? []
        if let standing = line.first(where: { $0.key == place.key }) {
            let isSame =
                standing.isProtected && standing.mode == message.mode && standing.permits == message.permits
                && standing.guards.elementsEqual(place.guards) { $0 == $1 }
            return try expect(refusal: isSame ? nil : "berth: this lease stands in this line already") {
                let found = try machine.acquire(message)
                #expect(found.token.value == standing.token && !found.isNew)
                #expect(found.holds == model.holders(message.name).contains(standing))
                #expect(found.ahead == line.firstIndex(of: standing))
            }
        }
        guard !model.keys.contains(place.key) else {
            return try expect(refusal: "berth: the queue key exists") { try machine.acquire(message) }
        }
        let leaseExists = model.leases.contains(message.lease)
        let wouldHold = LockModel.holders(line + [place]).count == line.count + 1
        guard leaseExists || message.ttl > 0 else {
            return try expect(refusal: "etcdserver: requested lease not found") { try machine.acquire(message) }
        }
        if message.waitMilliseconds == 0, !wouldHold {
            let revision = machine.store.publishedRevision
            let refused = try machine.acquire(message)
            try #require(refused.holder != nil && refused.token == .zero)
            try #require(machine.store.publishedRevision == revision)
            return try #require(machine.machine.leases.exists(LeaseID(message.lease)) == leaseExists)
        }
        let entered = try machine.acquire(message)
        place.token = entered.token.value
        let isOwned = model.places.contains { $0.lease == message.lease && $0.ownsLease }
        place.ownsLease = message.ttl > 0 && (!leaseExists || isOwned)
        model.leases.insert(message.lease)
        try #require(entered.isNew && entered.holds == wouldHold && entered.ahead == line.count)
        known.append(place)
        try #require(happened == model.enter(place))
    }

    /// As etcd's own clients do: a put of the queue key under the lease.
    private mutating func enterAsEtcd() throws {
        let (name, lease) = (pick(Self.names), lease())
        var place = LockModel.Place(name: name, lease: lease, token: 0)
        guard model.leases.contains(lease) else {
            return try expect(refusal: "etcdserver: requested lease not found") {
                try machine.put(place.key, lease: lease)
            }
        }
        let isRefused = model.refuses(place.key, isPlace: true)
        let standing = model.lines[name]?.first { $0.key == place.key }
        try expect(refusal: isRefused ? "berth: key is locked" : nil) {
            try machine.put(place.key, "v", lease: lease)
        }
        guard !isRefused else { return }
        // A key that was there before keeps its create revision, and enters the line at its end all the same.
        place.token = try #require(try machine.get(place.key)).create
        model.keys.remove(place.key)
        if let standing { return try #require(happened == [.init(kind: .proclaimed, token: standing.token)]) }
        known.append(place)
        try #require(happened == model.enter(place))
    }

    private mutating func release() throws {
        guard !known.isEmpty else { return }
        let place = chance(70) ? pick(model.places.isEmpty ? known : model.places) : pick(known)
        let stands = model.places.contains(place)
        try #require(try machine.release(place.key, token: Revision(place.token)) == stands)
        try #require(happened == (stands ? remove(place) : []))
    }

    /// A place goes, and with the last place of a lease that was granted for places that lease.
    private mutating func remove(_ place: LockModel.Place, _ reason: LineEventKind? = nil) -> [LockModel.Happening] {
        guard let standing = model.places.first(where: { $0 == place }) else { return [] }
        let isLast = !model.places.contains { $0.lease == standing.lease && $0 != standing }
        return standing.ownsLease && isLast
            ? model.endLease(standing.lease, reason) : model.leave([standing], reason)
    }

    private mutating func breakPlace() throws {
        let name = pick(Self.names)
        let line = model.lines[name] ?? []
        let place = line.isEmpty ? nil : chance(50) ? line[0] : pick(line)
        try expect(refusal: place == nil ? "berth: no such place" : nil) {
            try machine.breakPlace(name, token: Revision(place?.token ?? 0))
        }
        guard let place else { return }
        try #require(happened == remove(place, .broken))
    }

    private mutating func endLease() throws {
        let lease = lease()
        let exists = model.leases.contains(lease)
        let expires = chance(50)
        try expect(refusal: exists ? nil : "etcdserver: requested lease not found") {
            if expires { try machine.expire(lease) } else { try machine.revoke(lease) }
        }
        guard exists else { return }
        try #require(happened == model.endLease(lease, expires ? .expired : nil))
    }

    private mutating func grant() throws {
        let lease = lease()
        guard model.leases.insert(lease).inserted else { return }
        try machine.grant(lease)
    }

    private mutating func plainWrite() throws {
        // Queue keys too: nobody may jump or empty a line of berth.v1 with a plain write.
        let key = chance(70) || model.places.isEmpty ? pick(Self.plainKeys) : pick(model.places).key
        let isDelete = chance(40)
        let isRefused = isDelete ? model.refuses(deleting: KeyRange(key: utf8(key), end: [])) : model.refuses(key)
        try expect(refusal: isRefused ? "berth: key is locked" : nil) {
            if isDelete { try machine.delete(key) } else { try machine.put(key, "x") }
        }
        guard !isRefused else { return }
        try follow(key, isDelete: isDelete)
    }

    /// What a plain write did: a place whose key is deleted, or hangs on its lease no longer, leaves its line.
    private mutating func follow(_ key: String, isDelete: Bool) throws {
        var expected: [LockModel.Happening] = []
        if let place = model.places.first(where: { $0.key == key }) { expected = model.leave([place]) }
        if isDelete { model.keys.remove(key) } else { model.keys.insert(key) }
        try #require(happened == expected)
    }

    private mutating func provenWrite() throws {
        guard !known.isEmpty else { return }
        let place = chance(80) && !model.places.isEmpty ? pick(model.places) : pick(known)
        // Also true of a key that stayed when its place left the line; then it proves nothing.
        let stands = try machine.get(place.key)?.create == place.token
        let key = chance(80) ? pick(Self.plainKeys) : place.key
        // In the failure branch a compare proves nothing, not even one that would be true.
        let isInverted = chance(20)
        let compare = CompareMessage(.create, place.key, isInverted ? .notEqual : .equal, place.token)
        let write = OperationMessage.put(PutMessage(key, "proven"))
        let runs = isInverted ? true : stands
        var txn = TxnMessage(compares: [compare], success: [write])
        if isInverted { txn = TxnMessage(compares: [compare], failure: [write]) }
        let takesWrite = isInverted ? stands : runs
        let proofs = !isInverted && stands ? [(key: place.key, token: place.token)] : []
        let isLocked = takesWrite && model.refuses(key, proofs)
        // With proof, but without its lease: the place would slip out of the line.
        let slipsOut = takesWrite && model.places.contains { $0.key == key && $0.isProtected }
        let isRefused = isLocked || slipsOut
        var succeeded = false
        try expect(refusal: isLocked ? "berth: key is locked" : slipsOut ? "berth: the key of a place" : nil) {
            succeeded = try machine.txn(txn).succeeded
        }
        guard !isRefused else { return }
        try #require(succeeded == (isInverted ? !stands : stands))
        if takesWrite { try follow(key, isDelete: false) }
    }

    private mutating func deleteRange() throws {
        let (key, end) = pick([("a/", "a0"), ("k", "l"), ("a", "c"), ("b/", "b0")])
        let range = KeyRange(key: utf8(key), end: utf8(end))
        let isRefused = model.refuses(deleting: range)
        try expect(refusal: isRefused ? "berth: key is locked" : nil) { try machine.delete(key, end) }
        guard !isRefused else { return }
        let expected = model.leave(model.inOrderOfKeys { range.contains(utf8($0.key)) })
        model.keys = model.keys.filter { !range.contains(utf8($0)) }
        try #require(happened == expected)
    }

    func compareLines() throws {
        let list = machine.machine.reports(prefix: [], after: nil, limit: 100, places: 100)
        let reports = list.lines
        #expect(!list.isMore)
        let sorted = model.lines.keys.sorted { utf8($0).lexicographicallyPrecedes(utf8($1)) }
        try #require(reports.map(\.name) == sorted.map(utf8))
        let counts = machine.machine.counts
        try #require(counts[.lines] == reports.count)
        try #require(counts[.longestLine] == reports.map { $0.places.count }.max() ?? 0)
        try #require(counts[.placesHolding] == reports.reduce(0) { $0 + $1.holders })
        try #require(counts[.placesWaiting] == reports.reduce(0) { $0 + $1.waiters })
        for (report, name) in zip(reports, sorted) {
            let line = model.lines[name] ?? []
            try #require(report.places.map(\.record.token.value) == line.map(\.token))
            try #require(report.places.map(\.record.key) == line.map { utf8($0.key) })
            try #require(report.places.map(\.record.terms.isProtected) == line.map(\.isProtected))
            try #require(report.places.map(\.record.terms.ownsLease) == line.map(\.ownsLease))
            try #require(report.holders == LockModel.holders(line).count)
            try #require(report.places.map(\.holds) == report.places.indices.map { $0 < report.holders })
        }
    }
}

@Suite struct LockModelTests {
    @Test(arguments: Seeds.all)
    func `lines, holders, guards and events are those of a plain model, through restarts`(seed: UInt64) throws {
        var run = try LockRun(seed: seed)
        for step in 1...25_000 {
            try run.step()
            if step % 500 == 0 {
                if step % 2_500 == 0 { try run.machine.restart() }
                try run.compareLines()
            }
        }
    }
}
