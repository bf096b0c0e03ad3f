import EtcdAPI
import GRPCTransport
import NIOCore
import StateMachine
import Store
import Vocabulary

/// `etcdserverpb.KV`: checks requests on the event loop, sends writes to the log as the bytes they came in, and answers
/// reads from the store without leaving the loop unless they are long.
struct KVService: Sendable {
    let context: ServerContext

    func register(in table: inout ServiceTable) {
        table.unary("/etcdserverpb.KV/Put") { put($0, $1) }
        table.unary("/etcdserverpb.KV/Range") { range($0, $1) }
        table.unary("/etcdserverpb.KV/DeleteRange") { deleteRange($0, $1) }
        table.unary("/etcdserverpb.KV/Txn") { txn($0, $1) }
        table.unary("/etcdserverpb.KV/Compact") { compact($0, $1) }
    }

    private func put(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        do {
            let view = try RequestCheck.put(request, limits: context.limits, alarms: context.alarms)
            let caller = try context.access.caller(of: call)
            try caller?.state.permit(caller?.author, put: view, context.leaseTable, early: true)
            try context.quota.admit(RequestCheck.quotaCost(view), context)
            let author = caller?.author
            guard view.wantsPrevious else { return context.propose(.put, request, for: author, answering: call) }
            context.proposeGated(.put, [UInt8](request), for: author, answering: call)
        } catch {
            call.fail(error)
        }
    }

    private func deleteRange(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        do {
            let view = try RequestCheck.deleteRange(request, limits: context.limits, alarms: context.alarms)
            let caller = try context.access.caller(of: call)
            try caller?.state.permit(caller?.author, delete: view)
            let author = caller?.author
            guard view.wantsPrevious else {
                return context.propose(.deleteRange, request, for: author, answering: call)
            }
            context.proposeGated(.deleteRange, [UInt8](request), for: author, answering: call)
        } catch {
            call.fail(error)
        }
    }

    private func txn(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        do {
            let view = try RequestCheck.txn(request, limits: context.limits, alarms: context.alarms)
            let caller = try context.access.caller(of: call)
            try caller?.state.permit(caller?.author, txn: view, context.leaseTable, early: true)
            guard view.isReadOnly else {
                try context.quota.admit(RequestCheck.quotaCost(view), context)
                return context.proposeGated(.txn, [UInt8](request), for: caller?.author, answering: call)
            }
            try readOnlyTxn(call, request, view, caller)
        } catch {
            call.fail(error)
        }
    }

    // MARK: - Reads

    private func range(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        do {
            let view = try RequestCheck.range(request)
            // A client that does not read its answers gets no further ones made.
            guard call.hasRoom else {
                let copy = [UInt8](request)
                call.onRoom = {
                    call.onRoom = nil
                    copy.withUnsafeBytes { range(call, $0) }
                }
                return
            }
            let caller = try context.access.caller(of: call)
            try caller?.state.permit(caller?.author, range: view)
            guard try !RangePool.isLong(view.range, context.store) else {
                return answerOffLoop(call, [UInt8](request), caller) { context, request throws(EtcdError) in
                    try context.range(try RequestCheck.range(request))
                }
            }
            let answer = try context.range(view)
            try context.access.confirm(caller)
            call.respond(answer)
        } catch {
            call.fail(error)
        }
    }

    private func readOnlyTxn(
        _ call: ServerCall, _ request: UnsafeRawBufferPointer, _ view: TxnRequestView, _ caller: Caller?
    ) throws(EtcdError) {
        let isSmall = view.success.count + view.failure.count <= 2
        guard isSmall, call.hasRoom, try !view.readsLongRange(context.store) else {
            return answerOffLoop(call, [UInt8](request), caller) { context, request throws(EtcdError) in
                try context.readOnlyTxn(
                    try RequestCheck.txn(request, limits: context.limits, alarms: context.alarms))
            }
        }
        let answer = try context.readOnlyTxn(view)
        try context.access.confirm(caller)
        call.respond(answer)
    }

    /// Reads on a pool thread from a copy of the request, for a caller who was judged.
    private func answerOffLoop(
        _ call: ServerCall, _ request: [UInt8], _ caller: Caller?,
        _ read: @escaping @Sendable (ServerContext, UnsafeRawBufferPointer) throws(EtcdError) -> [UInt8]
    ) {
        context.answer(call) { context throws(EtcdError) in
            let answer = try request.withRawBytes { buffer throws(EtcdError) in try read(context, buffer) }
            try context.access.confirm(caller)
            return answer
        }
    }

    // MARK: - Compaction

    private func compact(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        let revision: Revision
        do {
            let view = try RequestCheck.compaction(request, alarms: context.alarms)
            guard view.isPhysical else { return context.propose(.compaction, request, answering: call) }
            revision = Revision(view.revision)
        } catch {
            return call.fail(error)
        }
        let loop = ServerLoop.here
        let store = context.store
        context.propose(.compaction, [UInt8](request)) { result in
            switch result {
            case .response(let message):
                let answer = PendingProposal(on: loop) { _ in call.respond(message) }
                store.whenPhysicallyCompacted(through: revision) {
                    loop.eventLoop.execute { answer.complete(.skipped) }
                }
            case .failure, .entered, .skipped: call.answer(result)
            }
        }
    }
}

extension ServerContext {
    /// Answers a checked range request from a fresh snapshot.
    func range(_ request: RangeRequestView) throws(EtcdError) -> [UInt8] {
        try store.readingEtcdErrors { snapshot in
            try RangeReader.response(to: request, on: snapshot, template: headerTemplate, term: term)
        }
    }

    /// Answers a checked transaction of ranges from a fresh snapshot.
    func readOnlyTxn(_ request: TxnRequestView) throws(EtcdError) -> [UInt8] {
        try store.readingEtcdErrors { snapshot in
            try TxnReader.response(
                to: request, on: snapshot, template: headerTemplate, term: term, counts: counts)
        }
    }
}

extension RangeRequestView {
    fileprivate var range: KeyRange { KeyRange(key: [UInt8](key), end: [UInt8](rangeEnd)) }
}

extension TxnRequestView {
    /// Whether a compare or a range of this read-only transaction walks over many keys.
    fileprivate func readsLongRange(_ store: Store) throws(EtcdError) -> Bool {
        for compare in compares {
            let range = KeyRange(key: [UInt8](compare.key), end: [UInt8](compare.rangeEnd))
            if try RangePool.isLong(range, store) { return true }
        }
        for case .range(let request) in success + failure where try RangePool.isLong(request.range, store) {
            return true
        }
        return false
    }
}

extension Store {
    /// Reads, with the store's errors turned into what a client is told.
    func readingEtcdErrors<Value>(_ body: (Snapshot) throws -> Value) throws(EtcdError) -> Value {
        try EtcdError.reading { try withSnapshot(body) }
    }
}

extension EtcdError {
    /// Reads, with whatever went wrong turned into what a client is told.
    static func reading<Value>(_ body: () throws -> Value) throws(EtcdError) -> Value {
        do {
            return try body()
        } catch let error as EtcdError {
            throw error
        } catch RequestFailure.refused(let error) {
            throw error
        } catch RequestFailure.store(let error) {
            throw EtcdError(error)
        } catch let error as StoreError {
            throw EtcdError(error)
        } catch {
            throw .internalError("the store could not be read: \(error)")
        }
    }

    /// What a client is told when the store could not answer a read.
    init(_ error: StoreError) {
        switch error {
        case .compacted: self = .compacted
        case .futureRevision: self = .futureRevision
        case .closed: self = .stopped
        default: self = .internalError("the store could not be read: \(error)")
        }
    }
}
