/// What is served over plain HTTP beside gRPC.
public struct HTTPSettings: Sendable {
    /// Whether `/v3/...` answers JSON requests.
    public var hasGateway = true
    /// Origins that browsers may call from; `*` for any.
    public var allowedOrigins = ["*"]
    /// `Host` headers that are answered over connections without TLS; `*` for any.
    public var hostWhitelist = ["*"]
    /// Further addresses for `/metrics`, `/health`, `/livez` and `/readyz` alone.
    public var listenMetricsURLs: [ClientURL] = []
    /// Addresses for everything but gRPC; when there are any, the client addresses serve gRPC alone.
    public var listenClientHTTPURLs: [ClientURL] = []

    /// etcd's defaults.
    public init() {}
}
