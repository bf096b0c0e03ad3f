/// What the first pages of a file say of all others, known before any is written.
public struct BoltPlan: Hashable, Sendable {
    let root: UInt64
    let pageCount: UInt64

    /// Bytes of the whole file.
    public var fileSize: Int { Int(pageCount) * BoltFormat.pageSize }
}
