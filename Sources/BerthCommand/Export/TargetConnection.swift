import ArgumentParser
import Berth

/// The options that name the store which is written.
struct TargetConnection: ParsableArguments {
    @Option(help: ArgumentHelp("The target's servers, separated by commas.", valueName: "urls"))
    var toEtcd: String

    @Option(
        name: .customLong("to-cacert"),
        help: ArgumentHelp("Authorities the target is judged by, a PEM file ($BERTH_TO_CACERT).", valueName: "file"))
    var toAuthorities: String?

    @Option(
        name: .customLong("to-cert"),
        help: ArgumentHelp("Certificate to show to the target, a PEM file ($BERTH_TO_CERT).", valueName: "file"))
    var toCertificate: String?

    @Option(
        name: .customLong("to-key"),
        help: ArgumentHelp("Key of that certificate, a PEM file ($BERTH_TO_KEY).", valueName: "file"))
    var toCertificateKey: String?

    @Flag(help: "Take any certificate of the target ($BERTH_TO_INSECURE_SKIP_TLS_VERIFY).")
    var toInsecureSkipTlsVerify = false

    @Option(
        help: ArgumentHelp(
            "User at the target, with the password behind a colon, or asked for ($BERTH_TO_USER).",
            valueName: "name[:password]"))
    var toUser: String?

    @Option(
        help: ArgumentHelp(
            "That user's password; better in the environment ($BERTH_TO_PASSWORD).", valueName: "text"))
    var toPassword: String?

    /// What to connect with.
    func configuration(timeout: Duration) throws(Failure) -> BerthConfiguration {
        let user = ConnectionSources.value(toUser, "BERTH_TO_USER")
        let isPasswordWanted = user?.contains(":") == false
        let sources = ConnectionSources(
            endpoints: toEtcd,
            authorities: ConnectionSources.value(toAuthorities, "BERTH_TO_CACERT"),
            certificate: ConnectionSources.value(toCertificate, "BERTH_TO_CERT"),
            key: ConnectionSources.value(toCertificateKey, "BERTH_TO_KEY"),
            skipsVerification: try ConnectionSources.isSet(
                toInsecureSkipTlsVerify, "BERTH_TO_INSECURE_SKIP_TLS_VERIFY"),
            user: user,
            password: toPassword
                ?? (isPasswordWanted ? ConnectionSources.value(nil, "BERTH_TO_PASSWORD") : nil),
            options: "--to-")
        var configuration = try sources.configuration(timeout: timeout)
        configuration.longestAnswer = SourceConnection.longestAnswer
        return configuration
    }
}
