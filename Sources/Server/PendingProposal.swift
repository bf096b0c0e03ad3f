import EtcdAPI
import GRPCTransport
import NIOCore
import ReplicatedLog
import StateMachine

/// A proposal on its way through the log, and who waits for it.
///
/// `@unchecked Sendable`: the log thread carries the reference and reads `loop` alone; call and completion are touched
/// on their event loop only.
final class PendingProposal: ProposalContext, @unchecked Sendable {
    let loop: ServerLoop
    private let call: ServerCall?
    private let completion: ((ApplyResult) -> Void)?

    /// The entry's response answers `call` as it is: the way of every put.
    init(answering call: ServerCall, on loop: ServerLoop) {
        self.loop = loop
        self.call = call
        completion = nil
    }

    /// `completion` runs on `loop` with what became of the entry.
    init(on loop: ServerLoop, _ completion: @escaping (ApplyResult) -> Void) {
        self.loop = loop
        self.completion = completion
        call = nil
    }

    /// Hands the result to who waits. On the loop.
    func complete(_ result: ApplyResult) {
        if let completion { return completion(result) }
        call?.answer(result)
    }

    func proposalFailed(_ error: ProposalError) {
        loop.count(error)
        let failure = EtcdError(error)
        loop.eventLoop.execute { self.complete(.failure(failure)) }
    }
}

extension EtcdError {
    /// What a client is told when the log did not take its write.
    ///
    /// `Unavailable` invites a retry; clients repeat writes only when no connection existed, so it is honest here for
    /// a stop as well, where the write may yet be found in the log at the next start.
    init(_ error: ProposalError) {
        switch error {
        case .queueFull: self = .tooManyRequests
        case .tooLarge: self = .requestTooLarge
        case .notLeader: self = .noLeader
        case .stopped: self = .stopped
        case .io(let reason): self = .inDoubt(reason)
        case .refused(let reason): self = .notWritten(reason)
        }
    }
}

extension ServerCall {
    /// Passes on what became of an entry, or of a read elsewhere.
    func answer(_ result: ApplyResult) {
        switch result {
        case .response(let message): respond(message)
        case .failure(let error): fail(GRPCStatus(error))
        case .entered: preconditionFailure("a place is told by the call that waits for it")
        case .skipped: preconditionFailure("an entry proposed by this process was applied before it was proposed")
        }
    }
}

extension GRPCStatus {
    /// The one place where an etcd error becomes a gRPC status.
    init(_ error: EtcdError) {
        self.init(GRPCCode(rawValue: error.code) ?? .unknown, error.message)
        if let lock = error.lock { details = lock.statusDetails(code: error.code) }
    }
}
