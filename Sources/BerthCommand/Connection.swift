import ArgumentParser
import Berth
import CommandText
import Supervision

#if canImport(Glibc)
    import Glibc
#endif

/// A time span on the command line.
struct TimeSpan: ExpressibleByArgument {
    let duration: Duration

    init?(argument: String) {
        guard let duration = DurationText.parse(argument) else { return nil }
        self.duration = duration
    }

    init(_ duration: Duration) { self.duration = duration }

    var defaultValueDescription: String {
        duration.components.attoseconds == 0 ? "\(duration.components.seconds)s" : "\(duration)"
    }
}

/// The options of every command that speaks with servers.
struct Connection: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Servers to try in turn, separated by commas (default: $BERTH_ENDPOINTS, else 127.0.0.1:2379).",
            valueName: "urls"))
    var endpoints: String?

    @Option(help: ArgumentHelp("Authorities to trust, a PEM file ($BERTH_TLS_CA).", valueName: "file"))
    var tlsCa: String?

    @Option(help: ArgumentHelp("Certificate to show, a PEM file ($BERTH_TLS_CERT).", valueName: "file"))
    var tlsCert: String?

    @Option(help: ArgumentHelp("Key of that certificate, a PEM file ($BERTH_TLS_KEY).", valueName: "file"))
    var tlsKey: String?

    @Option(help: ArgumentHelp("User and password ($BERTH_USER).", valueName: "name:password"))
    var user: String?

    @Option(help: "Longest wait for an answer; waiting for a lock does not count.")
    var timeout = TimeSpan(.seconds(5))

    @Option(name: [.customShort("w"), .customLong("write-out")], help: "How to write answers.")
    var writeOut = WriteOut.simple

    /// An option, else a variable of the environment.
    static func value(_ option: String?, _ variable: String) -> String? {
        option ?? getenv(variable).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }

    /// The servers, as they are handed to commands run from here.
    var endpointList: String { Self.value(endpoints, "BERTH_ENDPOINTS") ?? "127.0.0.1:2379" }

    /// What a command run from here needs to reach the same servers. A password is handed on only where it came from
    /// the environment anyway.
    var variables: [String: String] {
        var variables = ["BERTH_ENDPOINTS": endpointList]
        variables["BERTH_TLS_CA"] = tlsCa
        variables["BERTH_TLS_CERT"] = tlsCert
        variables["BERTH_TLS_KEY"] = tlsKey
        return variables
    }

    /// What to connect with.
    func configuration() throws(Failure) -> BerthConfiguration {
        try Self.configuration(
            endpoints: endpointList, authorities: Self.value(tlsCa, "BERTH_TLS_CA"),
            certificate: Self.value(tlsCert, "BERTH_TLS_CERT"), key: Self.value(tlsKey, "BERTH_TLS_KEY"),
            user: Self.value(user, "BERTH_USER"), timeout: timeout.duration, options: "--")
    }

    /// What to connect with.
    ///
    /// - Parameter options: what the names of these options begin with.
    static func configuration(
        endpoints: String, authorities: String?, certificate: String?, key: String?, user: String?, timeout: Duration,
        options: String
    ) throws(Failure) -> BerthConfiguration {
        var configuration = BerthConfiguration(
            endpoints: endpoints.split(separator: ",").map { part in
                String(part.filter { !$0.isWhitespace })
            })
        configuration.requestTimeout = timeout
        configuration.connectTimeout = min(configuration.connectTimeout, timeout)
        guard (certificate == nil) == (key == nil) else {
            throw Failure("\(options)tls-cert and \(options)tls-key belong together; one of them is missing")
        }
        if authorities != nil || certificate != nil {
            var tls = BerthConfiguration.TLS(authoritiesFile: authorities)
            tls.certificateFile = certificate
            tls.keyFile = key
            configuration.tls = tls
        }
        if let user {
            guard let colon = user.firstIndex(of: ":") else {
                throw Failure("\(options)user has no colon; expected name:password")
            }
            configuration.credentials = .init(
                user: String(user[..<colon]), password: String(user[user.index(after: colon)...]))
        }
        return configuration
    }

    /// Runs a command with a client, and turns what goes wrong into a line and a status.
    ///
    /// - Parameter longestAnswer: in bytes; nil leaves it to the library.
    func run(longestAnswer: Int? = nil, _ body: (BerthClient) async throws -> Void) async throws {
        do {
            var configuration = try configuration()
            if let longestAnswer { configuration.longestAnswer = longestAnswer }
            try await BerthClient.with(configuration, body)
        } catch let status as ExitCode {
            throw status
        } catch {
            throw Failure(error).told()
        }
    }
}
