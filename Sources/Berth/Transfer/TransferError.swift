/// Why a transfer ended early, and how far it came. Nothing is taken back: what was written stays, keys on leases until
/// those run out. It can be made again with keys allowed to be overwritten.
public struct TransferError: Error, Sendable, Equatable {
    /// Why.
    public var reason: Reason
    /// What was done until then.
    public var progress: TransferProgress

    /// It had begun to write. What was on its way may be written beside what is known to be.
    public var mayHaveWritten: Bool {
        switch progress.stage {
        case .looking, .reading: false
        case .copying, .granting, .leasedKeys, .verifying: true
        }
    }

    /// Which store.
    public enum Side: String, Sendable, Hashable {
        /// The one that is read.
        case source
        /// The one that is written.
        case target
    }

    /// Why a transfer ends early.
    public enum Reason: Error, Sendable, Equatable {
        /// The target has keys under the prefix already, so many, this one the first.
        case targetNotEmpty(keys: Int, first: Bytes)
        /// The target has a lease of that number with another time to live.
        case leaseTaken(LeaseID, source: Duration, target: Duration)
        /// The target granted a lease with another time to live than it was asked for.
        case leaseChanged(LeaseID, asked: Duration, granted: Duration)
        /// Source and target are the same store.
        case sameStore
        /// Source and target are members of one cluster, and so have the same keys.
        case sameCluster
        /// Somebody else wrote this key to the target meanwhile; it was not overwritten.
        case keyAppeared(Bytes)
        /// The source compacted the revision that is read.
        case compacted(revision: Int64)
        /// One key and its value are larger than the target takes.
        case tooLarge(Bytes, sizeInBytes: Int)
        /// A server's answer, or want of one.
        case failed(Side, BerthError)
    }
}

extension TransferError: CustomStringConvertible {
    /// One line: what was wrong, how far it came, what to do.
    public var description: String {
        guard mayHaveWritten else { return "\(reason); nothing was written" }
        return "\(reason); known to be written: \(progress.written) of \(progress.total) keys, "
            + "\(progress.leases) leases"
    }
}

extension TransferError.Reason: CustomStringConvertible {
    /// What was wrong, and what to do about it.
    public var description: String {
        switch self {
        case .targetNotEmpty(let keys, let first):
            "the target holds \(keys) \(keys == 1 ? "key" : "keys") already where the source's are to go, "
                + "\(first) the first: delete them, or allow keys to be overwritten"
        case .leaseTaken(let lease, let source, let target):
            "the target has a lease \(lease) already, with a time to live of \(target.components.seconds) s instead "
                + "of \(source.components.seconds) s: revoke it there, or let it run out"
        case .leaseChanged(let lease, let asked, let granted):
            "the target granted lease \(lease) a time to live of \(granted.components.seconds) s instead of "
                + "\(asked.components.seconds) s: let it be granted anew in the source with a time that both take"
        case .sameStore: "source and target are the same store: name two"
        case .sameCluster: "source and target are two members of one cluster, and have the same keys: name two clusters"
        case .keyAppeared(let key):
            "someone else wrote \(key) to the target meanwhile, and it was not overwritten: keep others from writing "
                + "there, or allow keys to be overwritten"
        case .compacted(let revision):
            "the source was compacted while its revision \(revision) was read: keep it from compacting for so long "
                + "(etcd: a longer --auto-compaction-retention), and begin again with keys allowed to be overwritten"
        case .tooLarge(let key, let size):
            "\(key) and its value take \(size) bytes, more than the target takes at once: start it with a larger "
                + "--max-request-bytes"
        case .failed(.target, .noSpace):
            "the target is full (database space exceeded): compact it or raise its quota, disarm its alarm, and begin "
                + "again with keys allowed to be overwritten"
        case .failed(let side, let error): "the \(side.rawValue): \(error)"
        }
    }
}
