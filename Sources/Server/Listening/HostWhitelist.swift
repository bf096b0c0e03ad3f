package import GRPCTransport

/// Which `Host` headers are answered over plain connections.
///
/// A web page can have its own name resolve to this machine, and then speak with what listens here as if it were its own
/// server (DNS rebinding). The browser sends the page's host name along, which is refused here. TLS needs no such check:
/// no certificate names the page's host.
package struct HostWhitelist: Sendable {
    /// Nil lets any in.
    private let hosts: Set<String>?

    /// `*` among them, or none at all, lets any in.
    package init(_ hosts: [String]) { self.hosts = hosts.isEmpty || hosts.contains("*") ? nil : Set(hosts) }

    /// The refusal of a request; nil when it may be answered.
    package func refusal(of head: HTTPHead) -> HTTPResponse? {
        guard let hosts else { return nil }
        let host = Self.name(head.host)
        guard !hosts.contains(host) else { return nil }
        return .text(
            421,
            """
            The Host header names '\(host.prefix(256))', which is not among the hosts that are answered without TLS.
            Use https, or add the name to --host-whitelist.

            """)
    }

    /// The host without its port; IPv6 addresses lose their brackets with it.
    static func name(_ header: String) -> String {
        if header.hasPrefix("["), let close = header.lastIndex(of: "]") {
            let rest = header[header.index(after: close)...]
            return rest.hasPrefix(":") ? String(header[header.index(after: header.startIndex)..<close]) : header
        }
        guard let colon = header.firstIndex(of: ":"), colon == header.lastIndex(of: ":") else { return header }
        return String(header[..<colon])
    }
}
