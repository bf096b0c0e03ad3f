import GRPCTransport
import NIOCore
import NIOPosix

/// One server as the configuration names it.
package struct Endpoint: Sendable, Equatable {
    package var host: String
    package var port: Int
    package var isSecure: Bool

    /// Reads `http://host:port`, `https://host:port` or `host:port`; IPv6 addresses stand in brackets.
    package init(_ text: String, prefersTLS: Bool) throws(BerthError) {
        var rest = Substring(text)
        isSecure = prefersTLS
        if rest.hasPrefix("https://") {
            rest = rest.dropFirst("https://".count)
            isSecure = true
        } else if rest.hasPrefix("http://") {
            rest = rest.dropFirst("http://".count)
            isSecure = false
        } else if rest.contains("://") {
            throw .invalid("\(text) is no endpoint: write http://host:port or https://host:port")
        }
        if rest.hasSuffix("/") { rest = rest.dropLast() }
        var name = rest
        var number: Substring?
        if rest.hasPrefix("["), let close = rest.firstIndex(of: "]") {
            name = rest[rest.index(after: rest.startIndex)..<close]
            let tail = rest[rest.index(after: close)...]
            if tail.hasPrefix(":") { number = tail.dropFirst() } else if !tail.isEmpty { name = "" }
        } else if let colon = rest.lastIndex(of: ":") {
            name = rest[..<colon]
            number = rest[rest.index(after: colon)...]
        }
        let port = number.map { Int($0) ?? -1 } ?? 2379
        guard (1...65_535).contains(port), !name.isEmpty,
            !name.contains("/")
        else { throw .invalid("\(text) is no endpoint: write http://host:port or https://host:port") }
        host = String(name)
        self.port = port
    }

    /// A client of this server.
    func client(_ configuration: BerthConfiguration) throws(BerthError) -> GRPCClient {
        var transport = ClientConfiguration()
        transport.connectTimeout = TimeAmount(configuration.connectTimeout)
        transport.keepaliveInterval = TimeAmount(configuration.keepaliveInterval)
        transport.keepaliveTimeout = TimeAmount(configuration.keepaliveTimeout)
        transport.maxConnectionIdle = TimeAmount(configuration.idleTimeout)
        transport.maxResponseBytes = configuration.longestAnswer
        transport.initialBackOff = .milliseconds(20)
        transport.maxBackOff = .seconds(1)
        if isSecure {
            transport.scheme = "https"
            transport.prepareConnection = try SecureConnection.preparation(configuration.tls ?? .init(), host: host)
        }
        return GRPCClient(
            host: host, port: port, eventLoop: MultiThreadedEventLoopGroup.singleton.next(), configuration: transport)
    }
}
