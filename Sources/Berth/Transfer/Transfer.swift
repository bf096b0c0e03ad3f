/// Copies the keys and leases of one store into another, and compares both. Either may be Berth or etcd: what it needs
/// of them is etcd's v3 API.
///
/// All keys are copied as of one revision of the source, so the copy is consistent; what is written there later is not
/// copied. Leases keep their numbers and times to live; their time starts anew, and they are renewed until the transfer
/// ends. Keys with leases are written in the order they were created, so who waits in line for a lock or an election
/// waits in the same place; fencing tokens are new. Revisions, versions and history are the target's own, and keys
/// without leases are written in any order. Nothing is ever deleted.
///
/// Memory: a few pages of about 4 MiB, and some hundred bytes for each key with a lease.
///
/// ```swift
/// let report = try await Transfer(from: old, to: new).run { progress in … }
/// guard report.isVerified else { … }
/// ```
public struct Transfer: Sendable {
    /// Where from.
    public var source: BerthClient
    /// Where to.
    public var target: BerthClient
    /// Keys that begin so are copied, and leases that they hang on. Empty: everything, leases without keys too.
    public var prefix: Bytes
    /// Keys the target has already are overwritten; those that the source lacks stay. False: nothing is copied when the
    /// target has any key under the prefix.
    public var overwrites: Bool

    /// Names both stores. Give both clients a `longestAnswer`, so that memory is bounded even when small values are
    /// followed by many large ones.
    public init(
        from source: BerthClient, to target: BerthClient, prefix: Bytes = [], overwrites: Bool = false
    ) {
        self.source = source
        self.target = target
        self.prefix = prefix
        self.overwrites = overwrites
    }

    /// Copies and compares.
    ///
    /// - Parameter onProgress: called often, from the task that runs this.
    /// - Returns: what was done. Look at `isVerified`: whether both sides hold the same is for the caller to judge.
    /// - Throws: why it ended early, and what had been done.
    public func run(
        onProgress: @escaping @Sendable (TransferProgress) -> Void = { _ in }
    ) async throws(TransferError) -> TransferReport {
        var run = TransferRun(self, onProgress)
        do throws(TransferError.Reason) {
            let report = try await run.copyAndCompare()
            run.stopRenewing()
            return report
        } catch {
            run.stopRenewing()
            throw TransferError(reason: error, progress: run.progress)
        }
    }

    /// Reads all that would be copied, and looks at what is in the way. Writes nothing.
    public func survey(
        onProgress: @escaping @Sendable (TransferProgress) -> Void = { _ in }
    ) async throws(TransferError) -> TransferSurvey {
        var run = TransferRun(self, onProgress)
        do throws(TransferError.Reason) {
            return try await run.survey()
        } catch {
            throw TransferError(reason: error, progress: run.progress)
        }
    }
}
