/// How users are known: `--auth-token`, `--auth-token-ttl` and `--bcrypt-cost`.
public struct AuthSettings: Sendable {
    /// `simple`, or `jwt,` and its parameters as etcd writes them.
    public var token = "simple"
    /// Seconds a simple token lives after its last use.
    public var tokenTTLSeconds: Int64 = 300
    /// The work factor of password hashes, 4 to 31.
    public var bcryptCost = 10

    /// etcd's defaults.
    public init() {}
}
