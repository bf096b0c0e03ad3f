import ArgumentParser
import Berth
import CommandText
import Supervision

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

    @Option(
        name: [.customLong("cacert"), .customLong("tls-ca")],
        help: ArgumentHelp("Authorities to trust, a PEM file ($BERTH_CACERT).", valueName: "file"))
    var authorities: String?

    @Option(
        name: [.customLong("cert"), .customLong("tls-cert")],
        help: ArgumentHelp("Certificate to show, a PEM file ($BERTH_CERT).", valueName: "file"))
    var certificate: String?

    @Option(
        name: [.customLong("key"), .customLong("tls-key")],
        help: ArgumentHelp("Key of that certificate, a PEM file ($BERTH_KEY).", valueName: "file"))
    var certificateKey: String?

    @Flag(help: "Take any certificate, also of who stands between ($BERTH_INSECURE_SKIP_TLS_VERIFY).")
    var insecureSkipTlsVerify = false

    @Option(
        help: ArgumentHelp(
            "User, with the password behind a colon; without one it is asked for ($BERTH_USER).",
            valueName: "name[:password]"))
    var user: String?

    @Option(help: ArgumentHelp("The user's password; better in the environment ($BERTH_PASSWORD).", valueName: "text"))
    var password: String?

    @Option(help: "Longest wait for an answer; waiting for a lock does not count.")
    var timeout = TimeSpan(.seconds(5))

    @Option(name: [.customShort("w"), .customLong("write-out")], help: "How to write answers.")
    var writeOut = WriteOut.simple

    /// An option, else a variable of the environment.
    static func value(_ option: String?, _ variable: String) -> String? { ConnectionSources.value(option, variable) }

    /// The servers, as they are handed to commands run from here.
    var endpointList: String { Self.value(endpoints, "BERTH_ENDPOINTS") ?? "127.0.0.1:2379" }

    /// What a command run from here needs to reach the same servers. A password is handed on only where it came from
    /// the environment anyway.
    var variables: [String: String] {
        var variables = ["BERTH_ENDPOINTS": endpointList]
        variables["BERTH_CACERT"] = authorities
        variables["BERTH_CERT"] = certificate
        variables["BERTH_KEY"] = certificateKey
        if insecureSkipTlsVerify { variables["BERTH_INSECURE_SKIP_TLS_VERIFY"] = "true" }
        if let user, !user.contains(":") { variables["BERTH_USER"] = user }
        return variables
    }

    /// What to connect with.
    func configuration() throws(Failure) -> BerthConfiguration {
        let sources = ConnectionSources(
            endpoints: endpointList,
            authorities: ConnectionSources.value(authorities, "BERTH_CACERT", "BERTH_TLS_CA"),
            certificate: ConnectionSources.value(certificate, "BERTH_CERT", "BERTH_TLS_CERT"),
            key: ConnectionSources.value(certificateKey, "BERTH_KEY", "BERTH_TLS_KEY"),
            skipsVerification: try ConnectionSources.isSet(insecureSkipTlsVerify, "BERTH_INSECURE_SKIP_TLS_VERIFY"),
            user: ConnectionSources.value(user, "BERTH_USER"), password: givenPassword)
        return try sources.configuration(timeout: timeout.duration)
    }

    /// A password from the environment belongs to a user who is named without one.
    private var givenPassword: String? {
        if let password { return password }
        guard let user = ConnectionSources.value(user, "BERTH_USER"), !user.contains(":") else { return nil }
        return ConnectionSources.value(nil, "BERTH_PASSWORD")
    }

    /// What to connect with.
    ///
    /// - Parameter options: what the names of these options begin with.
    static func configuration(
        endpoints: String, authorities: String?, certificate: String?, key: String?, user: String?, timeout: Duration,
        options: String
    ) throws(Failure) -> BerthConfiguration {
        try ConnectionSources(
            endpoints: endpoints, authorities: authorities, certificate: certificate, key: key, user: user,
            options: options
        ).configuration(timeout: timeout)
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
