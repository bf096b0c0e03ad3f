/// An address clients reach a member at: `http://HOST:PORT` or `https://HOST:PORT`.
public struct ClientURL: Hashable, Sendable, CustomStringConvertible {
    /// A host name or an address, IPv6 ones without brackets.
    public let host: String
    /// 0 to 65535; 0 lets the system choose when listening.
    public let port: Int

    /// Whether it is spoken to with TLS.
    public let isSecure: Bool

    /// Puts an address together.
    public init(host: String, port: Int, isSecure: Bool = false) {
        self.host = host
        self.port = port
        self.isSecure = isSecure
    }

    /// Reads `http://HOST:PORT` or `https://HOST:PORT`.
    ///
    /// - Throws: `SettingsError` that says what is wrong with the text.
    public init(parsing text: String) throws(SettingsError) {
        let expected = "expected http://HOST:PORT or https://HOST:PORT, such as http://127.0.0.1:2379"
        let isSecure = text.hasPrefix("https://")
        guard isSecure || text.hasPrefix("http://") else {
            throw SettingsError("'\(text)' is not a client URL; \(expected)")
        }
        var rest = text.dropFirst(isSecure ? "https://".count : "http://".count)
        if rest.hasSuffix("/") { rest = rest.dropLast() }
        let host: Substring
        let portText: Substring
        if rest.hasPrefix("["), let close = rest.firstIndex(of: "]") {
            host = rest[rest.index(after: rest.startIndex)..<close]
            let after = rest[rest.index(after: close)...]
            guard after.hasPrefix(":") else { throw SettingsError("'\(text)' has no port; \(expected)") }
            portText = after.dropFirst()
        } else {
            guard let colon = rest.lastIndex(of: ":") else {
                throw SettingsError("'\(text)' has no port; \(expected)")
            }
            host = rest[..<colon]
            portText = rest[rest.index(after: colon)...]
        }
        guard !host.isEmpty, !host.contains("/"), host.contains(":") == rest.hasPrefix("[") else {
            throw SettingsError("'\(text)' has no usable host; \(expected)")
        }
        guard let port = UInt16(portText) else {
            throw SettingsError("'\(text)' has no usable port ('\(portText)'); \(expected)")
        }
        self.init(host: String(host), port: Int(port), isSecure: isSecure)
    }

    /// The URL as text.
    public var description: String {
        "\(isSecure ? "https" : "http")://\(host.contains(":") ? "[\(host)]" : host):\(port)"
    }
}
