/// How far a transfer has come.
public struct TransferProgress: Sendable, Hashable {
    /// What is being done.
    public enum Stage: Sendable, Hashable {
        /// Counting and looking what is in the way.
        case looking
        /// Reading sizes, for a survey.
        case reading
        /// Writing keys.
        case copying
        /// Granting leases.
        case granting
        /// Writing the keys that hang on leases.
        case leasedKeys
        /// Comparing both sides.
        case verifying
    }

    /// What is being done.
    public var stage = Stage.looking
    /// Keys done in this stage; those with leases count on from those without.
    public var keys = 0
    /// Keys there are to do.
    public var total = 0
    /// Bytes of keys and values done.
    public var bytes: Int64 = 0
    /// Keys written to the target until now.
    public var written = 0
    /// Leases granted on the target, or found there, until now.
    public var leases = 0

    /// Nothing done yet.
    public init() {}
}

/// What a transfer did.
public struct TransferReport: Sendable, Hashable {
    /// The source's revision that was copied; later changes were not.
    public var sourceRevision: Int64
    /// The target's revision that was compared.
    public var targetRevision: Int64
    /// Keys the source has by its own count. Pages are read by guesses of where keys are, so what they brought is held
    /// against it.
    public var countedKeys: Int
    /// Keys written to the target.
    public var writtenKeys: Int
    /// Keys of the source that were compared, those left out not among them.
    public var keys: Int
    /// Bytes of their keys and values.
    public var bytes: Int64
    /// Leases granted on the target, or found there.
    public var leases: Int
    /// Leases among these that the target does not have any more.
    public var lostLeases: [LeaseID]
    /// Keys that were met and not copied, as their leases ended in the source meanwhile.
    public var endedKeys: Int
    /// Keys of the target that the source does not have, and that were left alone.
    public var otherKeys: Int
    /// SHA-256, in hexadecimal, over the source's keys in order: for each the key's length, the key, the value's length,
    /// the value, the number of its lease. Each number takes eight bytes, the highest first.
    public var sourceHash: String
    /// The same of the target's keys, those left alone not counted.
    public var targetHash: String
    /// Keys the target has of these.
    public var targetKeys: Int
    /// Keys that are not the same on both sides.
    public var differences: Int
    /// The first ten of these.
    public var firstDifferences: [TransferDifference]

    /// Every key the source counts was met, whether copied or left out.
    public var isComplete: Bool { keys + endedKeys == countedKeys && writtenKeys == keys }

    /// Both sides hold the same, and all of it.
    public var isVerified: Bool {
        isComplete && lostLeases.isEmpty && differences == 0 && keys == targetKeys && sourceHash == targetHash
    }
}

/// What a transfer would do.
public struct TransferSurvey: Sendable, Hashable {
    /// The source's revision that was looked at.
    public var sourceRevision: Int64
    /// Keys it would copy.
    public var keys: Int
    /// Bytes of their keys and values.
    public var bytes: Int64
    /// The longest key and value together, in bytes.
    public var largest: Int
    /// Keys among these that hang on leases.
    public var leasedKeys: Int
    /// Leases it would grant.
    public var leases: Int
    /// Keys the target has under the prefix. More than none are refused, unless keys may be overwritten.
    public var keysInTheWay: Int
    /// Leases the target has with the same numbers and other times. More than none are refused.
    public var leasesInTheWay: [LeaseID]
}
