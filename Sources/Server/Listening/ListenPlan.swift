/// The addresses a member listens on and what each answers, checked against each other before any is opened.
package struct ListenPlan: Sendable {
    /// What is answered at an address.
    package enum Service: Sendable {
        /// gRPC and HTTP.
        case clients
        /// gRPC alone, as HTTP has addresses of its own.
        case grpc
        /// HTTP alone.
        case http
        /// Metrics and health alone.
        case metrics
    }

    /// One address.
    package struct Listener: Sendable {
        package let service: Service
        package let url: ClientURL
        /// The setting that names it.
        package var setting: String {
            switch service {
            case .clients, .grpc: "--listen-client-urls"
            case .http: "--listen-client-http-urls"
            case .metrics: "--listen-metrics-urls"
            }
        }
    }

    package let listeners: [Listener]
    /// What an operator should know, one line each.
    package let warnings: [String]

    /// - Throws: `SettingsError` for addresses that exclude each other, or that need certificates where there are none.
    package init(_ settings: ServerSettings) throws(SettingsError) {
        let http = settings.http
        let clients: Service = http.listenClientHTTPURLs.isEmpty ? .clients : .grpc
        listeners =
            settings.listenClientURLs.map { Listener(service: clients, url: $0) }
            + http.listenClientHTTPURLs.map { Listener(service: .http, url: $0) }
            + http.listenMetricsURLs.map { Listener(service: .metrics, url: $0) }
        for (number, listener) in listeners.enumerated() {
            guard !listener.url.isSecure || settings.tls != nil else {
                throw SettingsError(
                    "\(listener.setting) names \(listener.url), but there is no certificate; give --cert-file and "
                        + "--key-file, or use http")
            }
            for earlier in listeners[..<number] where Self.collide(earlier.url, listener.url) {
                throw Self.collision(earlier, listener)
            }
        }
        warnings = Self.warnings(listeners, settings.tls)
    }

    private static func collision(_ first: Listener, _ second: Listener) -> SettingsError {
        let settings = first.setting == second.setting ? first.setting : "\(first.setting) and \(second.setting)"
        let why =
            first.url.isSecure == second.url.isSecure
            ? "are the same address; give each one of its own" : "share a port; give https and http one each"
        return SettingsError("\(settings): \(first.url) and \(second.url) \(why)")
    }

    private static func collide(_ first: ClientURL, _ second: ClientURL) -> Bool {
        guard first.port == second.port, first.port != 0 else { return false }
        let hosts = [first.host, second.host].map(plainHost)
        if hosts[0] == hosts[1] || hosts.contains("*") { return true }
        // A name for either of the loopback's two addresses, which are two sockets.
        return hosts.contains("localhost") && (hosts.contains("127.0.0.1") || hosts.contains("::1"))
    }

    private static func plainHost(_ host: String) -> String {
        switch host.lowercased() {
        case "0.0.0.0", "::": "*"
        case let name: name
        }
    }

    private static func warnings(_ listeners: [Listener], _ tls: TLSSettings?) -> [String] {
        guard let tls else { return [] }
        let plain = listeners.filter { !$0.url.isSecure && $0.service != .metrics }
        if plain.count == listeners.count {
            return ["--cert-file is given, but no address begins with https: nothing is served with TLS"]
        }
        guard tls.requiresClientCertificate else { return [] }
        return plain.map { "\($0.url) is served without TLS: --client-cert-auth does not apply to it" }
    }
}
