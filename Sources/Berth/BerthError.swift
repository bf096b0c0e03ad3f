/// Why something failed. The description is one line: what was wrong, and what to do about it.
public enum BerthError: Error, Sendable, Equatable {
    /// No server took the request: it was not carried out. The text names the servers and why.
    case unreachable(String)
    /// The connection broke after a write was sent: it may have been carried out or not. Read before writing again.
    case uncertain(String)
    /// The answer did not come in time; a write may have been carried out.
    case timedOut(String)
    /// The key is guarded by a lock that someone else holds; nothing was changed.
    case locked(LockedInfo)
    /// The lock, leadership or place in line is gone, and so is its protection. Nothing was written under it since.
    case lockLost(name: String, reason: String?)
    /// The wait ended before the caller's turn; it is not in line any more. The holder, when the server told it.
    case notAcquired(holder: Place?)
    /// The lease does not exist: it ran out or was revoked.
    case leaseNotFound
    /// History before this revision is gone; start again from what there is now.
    case compacted(revision: Int64)
    /// A revision was asked for that does not exist yet.
    case futureRevision
    /// The store is full: compact it, or raise its quota.
    case noSpace
    /// The request is larger than the server takes.
    case tooLarge(String)
    /// This server, often a plain etcd, lacks what was asked for.
    case unsupported(String)
    /// User name or password is wrong or missing.
    case unauthenticated(String)
    /// The user may not do this.
    case permissionDenied(String)
    /// The request makes no sense, whatever the store holds.
    case invalid(String)
    /// Any other answer of the server: a gRPC status code and its text.
    case server(code: Int, message: String)
    /// The client was closed.
    case closed
    /// The calling task was cancelled.
    case cancelled
}

/// Why a write was refused with `BerthError.locked`: which lock guards the key, and who holds it.
public struct LockedInfo: Sendable, Hashable {
    /// The key that was to be written; empty when the server did not say.
    public var key: Bytes
    /// The lock that guards it.
    public var lock: Bytes
    /// The owner key of its first holder.
    public var holder: Bytes
    /// That holder's fencing token.
    public var token: Int64
    /// The label that holder gave itself.
    public var owner: String
    /// What is left of that holder's lease, unless it is renewed.
    public var remaining: Duration
    /// The server's own words.
    public var message: String
}

extension BerthError: CustomStringConvertible {
    /// One line: what was wrong, and what to do.
    public var description: String {
        switch self {
        case .unreachable(let why): "no server answers: \(why)"
        case .uncertain(let why): "the write may or may not have been carried out (\(why)): read before writing again"
        case .timedOut(let what): "no answer in time: \(what)"
        case .locked(let info): info.description
        case .lockLost(let name, let reason?): "the lock \(name) was lost: \(reason)"
        case .lockLost(let name, nil): "the lock \(name) was lost"
        case .notAcquired(let holder?): "not acquired: \(holder.shortDescription)"
        case .notAcquired(nil): "not acquired: someone else holds it"
        case .leaseNotFound: "the lease does not exist: it ran out or was revoked"
        case .compacted(let revision): "history before revision \(revision) was compacted: start again from the present"
        case .futureRevision: "the revision does not exist yet"
        case .noSpace: "the store is full: compact it or raise its quota, then disarm the alarm"
        case .tooLarge(let what): "too large for the server: \(what)"
        case .unsupported(let what): what
        case .unauthenticated(let why): "not authenticated: \(why)"
        case .permissionDenied(let why): "permission denied: \(why)"
        case .invalid(let why): why
        case .server(let code, let message): "the server answers \(message) (gRPC status \(code))"
        case .closed: "the client was closed"
        case .cancelled: "cancelled"
        }
    }
}

extension LockedInfo: CustomStringConvertible {
    /// One line: the key, the lock, its holder.
    public var description: String {
        guard !lock.isEmpty else { return message }
        var text = "\(key) is guarded by the lock \(lock)"
        if token != 0 { text += ", held by \(owner.isEmpty ? "\(holder)" : owner) with token \(token)" }
        return text + ": acquire the lock and write with its handle"
    }
}
