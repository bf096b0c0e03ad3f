/// Bounds the operator sets and every member must share, because some decide what an entry does.
public struct Limits: Sendable {
    /// Compares, or operations of one branch, a transaction may hold; a nested one may use what its parents left.
    public var maxTxnOps: Int
    /// Bytes of a write request as it stands in the log.
    public var maxRequestBytes: Int
    /// Seconds below which a lease's time to live is raised: one and a half election timeouts, rounded up.
    public var minimumLeaseSeconds: Int64

    /// Seconds above which a grant is refused.
    public static let maximumLeaseSeconds: Int64 = 9_000_000_000

    /// etcd's defaults.
    public init(
        maxTxnOps: Int = 128, maxRequestBytes: Int = 1_572_864,
        minimumLeaseSeconds: Int64 = 2
    ) {
        self.maxTxnOps = maxTxnOps
        self.maxRequestBytes = maxRequestBytes
        self.minimumLeaseSeconds = minimumLeaseSeconds
    }
}
