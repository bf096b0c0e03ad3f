import EtcdAPI
import GRPCTransport
import NIOCore
import ReplicatedLog
import StateMachine
import Store
import SwiftProtobuf
import Synchronization
import Vocabulary

#if canImport(Glibc)
    import Glibc
#endif

/// What every service works with. Shared by all event loops; nothing here belongs to one.
final class ServerContext: Sendable {
    let store: Store
    let log: ReplicatedLog
    let leaseTable: LeaseTable
    let alarms: AlarmSet
    let keeper: LeaseKeeper
    let identity: MemberIdentity
    let headerTemplate: ResponseHeaderTemplate
    let settings: ServerSettings
    let limits: Limits
    let quota: QuotaGuard
    let rangePool: RangePool
    let metrics: ServerMetrics
    /// What the state machine has applied.
    let counts: StateMachineCounts
    let access: AccessControl
    let copies = CopyDesk()
    private let machine: LogThreadBound<StateMachine>
    /// Addresses the server listens on, with the ports the system chose; known before the first call.
    let boundURLs = Mutex<[ClientURL]>([])

    /// Addresses clients are told to dial.
    var advertisedURLs: [ClientURL] { settings.advertiseClientURLs ?? boundURLs.withLock { $0 } }

    init(
        store: Store, log: ReplicatedLog, machine: StateMachine, keeper: LeaseKeeper, settings: ServerSettings,
        rangePool: RangePool, metrics: ServerMetrics, access: AccessControl
    ) {
        self.store = store
        self.log = log
        leaseTable = machine.leases
        alarms = machine.alarms
        self.keeper = keeper
        identity = store.identity
        headerTemplate = ResponseHeaderTemplate(store.identity)
        self.settings = settings
        limits = settings.limits
        quota = QuotaGuard(store: store, limitInBytes: settings.quotaBackendBytes)
        self.rangePool = rangePool
        self.metrics = metrics
        counts = machine.counts
        self.access = access
        self.machine = LogThreadBound(machine)
    }

    /// The time of day in milliseconds since 1970: for people to read, nothing is decided by it.
    static func wallClock() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000
    }

    /// Asks the state machine on its own thread, between two entries; `completion` runs on the calling event loop. What
    /// is asked must be small: writes wait for it.
    func ask<Value: Sendable>(
        _ question: @escaping @Sendable (StateMachine) -> Value,
        _ completion: @escaping (Result<Value, EtcdError>) -> Void
    ) {
        let loop = ServerLoop.here
        let answer = LoopBoundAnswer(completion)
        let machine = machine
        let isAsked = log.execute {
            let value = question(machine.value)
            loop.eventLoop.execute { answer.completion(.success(value)) }
        }
        if !isAsked { completion(.failure(.stopped)) }
    }

    var term: RaftTerm { log.status.term }

    /// A header for answers that did not go through the log.
    var header: Etcdserverpb_ResponseHeader { header(revision: store.publishedRevision) }

    func header(revision: Revision) -> Etcdserverpb_ResponseHeader {
        var header = Etcdserverpb_ResponseHeader()
        header.clusterID = identity.clusterID
        header.memberID = identity.memberID
        header.revision = revision.value
        header.raftTerm = term.value
        return header
    }

    // MARK: - Proposals

    /// Proposes a request as it came; the entry's response answers the call.
    ///
    /// - Parameter author: whom it is made for; nil while authentication is off, and for what the server itself wants.
    func propose(
        _ kind: CommandKind, _ payload: UnsafeRawBufferPointer, for author: Author? = nil, answering call: ServerCall
    ) {
        propose(kind, payload, author, PendingProposal(answering: call, on: .here))
    }

    private func propose(
        _ kind: CommandKind, _ payload: UnsafeRawBufferPointer, _ author: Author?, _ pending: PendingProposal
    ) {
        guard let author else {
            return log.propose(ProposalBuffer(kind: kind.rawValue, payload: payload), context: pending)
        }
        AuthoredEntry.prefix(author, kind: kind).withUnsafeBytes { prefix in
            log.propose(
                ProposalBuffer(kind: CommandKind.authored.rawValue, parts: [prefix, payload]), context: pending)
        }
    }

    /// Like `propose`, for requests that may be answered with far more bytes than they have.
    func proposeGated(
        _ kind: CommandKind, _ payload: [UInt8], for author: Author? = nil, answering call: ServerCall
    ) {
        let gate = ServerLoop.here.gate
        gate.admit(call) {
            self.propose(kind, payload, for: author) { result in
                gate.finished()
                call.answer(result)
            }
        }
    }

    /// Answers a call with what `work` makes on a pool thread.
    func answer(_ call: ServerCall, _ work: @escaping @Sendable (ServerContext) throws(EtcdError) -> [UInt8]) {
        let loop = ServerLoop.here
        loop.gate.admit(call) {
            let answer = PendingProposal(on: loop) { result in
                loop.gate.finished()
                call.answer(result)
            }
            self.rangePool.run(self, answer, work)
        }
    }

    /// Proposes a request; `completion` runs on the calling event loop.
    func propose(
        _ kind: CommandKind, _ payload: [UInt8], for author: Author? = nil,
        _ completion: @escaping (ApplyResult) -> Void
    ) {
        let pending = PendingProposal(on: .here, completion)
        payload.withUnsafeBytes { propose(kind, $0, author, pending) }
    }

    /// Proposes a message made here and hands over the decoded response.
    func propose<Response: Message>(
        _ kind: CommandKind, _ request: some Message, expecting: Response.Type, for author: Author?,
        _ completion: @escaping (Result<Response, EtcdError>) -> Void
    ) {
        let payload: [UInt8]
        do throws(EtcdError) {
            payload = try EtcdError.encoding { try request.serializedBytes() }
            try check(kind, payload)
        } catch {
            return completion(.failure(error))
        }
        propose(kind, payload, for: author) { result in
            switch result {
            case .response(let bytes):
                do {
                    completion(.success(try Response(serializedBytes: bytes)))
                } catch {
                    completion(.failure(.internalError("the state machine's answer is malformed: \(error)")))
                }
            case .failure(let error): completion(.failure(error))
            case .entered: preconditionFailure("only an acquire is answered with a place")
            case .skipped: preconditionFailure("an entry proposed by this process was applied before it was proposed")
            }
        }
    }

    /// What a client's own request of this kind would be checked for.
    private func check(_ kind: CommandKind, _ payload: [UInt8]) throws(EtcdError) {
        try payload.withRawBytes { buffer throws(EtcdError) in try check(kind, buffer) }
    }

    private func check(_ kind: CommandKind, _ payload: UnsafeRawBufferPointer) throws(EtcdError) {
        switch kind {
        case .txn:
            try quota.admit(
                RequestCheck.quotaCost(try RequestCheck.txn(payload, limits: limits, alarms: alarms)), self)
        case .put:
            try quota.admit(
                RequestCheck.quotaCost(try RequestCheck.put(payload, limits: limits, alarms: alarms)), self)
        case .leaseGrant:
            _ = try RequestCheck.leaseGrant(payload, alarms: alarms)
            try quota.admit(RequestCheck.leaseQuotaCost, self)
        case .deleteRange: _ = try RequestCheck.deleteRange(payload, limits: limits, alarms: alarms)
        case .compaction: _ = try RequestCheck.compaction(payload, alarms: alarms)
        case .leaseRevoke: _ = try RequestCheck.leaseRevoke(payload, alarms: alarms)
        case .alarm: _ = try RequestCheck.alarm(payload)
        case .identity, .lockAcquire, .lockRelease, .lockBreak, .leaseExpire, .authored, .auth, .authenticate: break
        }
    }
}

/// What only the log thread may touch.
private struct LogThreadBound<Value>: @unchecked Sendable {
    // Unchecked: read in works of the log thread alone, see `ask`.
    let value: Value

    init(_ value: Value) { self.value = value }
}

/// A completion on its way to the log thread and back.
private struct LoopBoundAnswer<Value>: @unchecked Sendable {
    // Unchecked: called on the loop that made it, nothing else is done with it elsewhere.
    let completion: (Result<Value, EtcdError>) -> Void

    init(_ completion: @escaping (Result<Value, EtcdError>) -> Void) { self.completion = completion }
}

extension Duration {
    /// Whole milliseconds, rounded down.
    var milliseconds: Int64 {
        components.seconds * 1_000 + components.attoseconds / 1_000_000_000_000_000
    }
}

extension EtcdError {
    /// Something in this server contradicts itself.
    static func internalError(_ what: String) -> EtcdError { EtcdError(code: 13, message: "berth: \(what)") }
}

extension GRPCStatus {
    /// A method that takes one message got none.
    static let missingRequest = GRPCStatus(.internal, "the request ended without a message; expected one")
}

/// Decodes a request with its generated type, or fails the call.
func decode<Request: Message>(
    _ type: Request.Type, _ bytes: UnsafeRawBufferPointer, _ call: ServerCall
) -> Request? {
    do {
        return try Request(serializedBytes: [UInt8](bytes))
    } catch {
        call.fail(EtcdError.malformed(error))
        return nil
    }
}

extension ServerCall {
    /// Answers with a generated message.
    func respond(_ message: some Message) {
        do {
            let bytes: [UInt8] = try message.serializedBytes()
            respond(bytes)
        } catch {
            fail(GRPCStatus(.internal, "berth: the answer could not be encoded: \(error)"))
        }
    }

    /// Sends one generated message of a stream.
    func send(_ message: some Message) {
        do {
            let bytes: [UInt8] = try message.serializedBytes()
            send(bytes)
        } catch {
            finish(GRPCStatus(.internal, "berth: the answer could not be encoded: \(error)"))
        }
    }

    /// Fails with an etcd error.
    func fail(_ error: EtcdError) { fail(GRPCStatus(error)) }
}
