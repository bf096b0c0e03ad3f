import ArgumentParser
import Berth

/// The options that name the store which is read.
struct SourceConnection: ParsableArguments {
    @Option(help: ArgumentHelp("The source's servers, separated by commas.", valueName: "urls"))
    var fromEtcd: String

    @Option(
        name: [.customLong("from-cacert"), .customLong("from-tls-ca")],
        help: ArgumentHelp("Authorities the source is judged by, a PEM file ($BERTH_FROM_CACERT).", valueName: "file"))
    var fromAuthorities: String?

    @Option(
        name: [.customLong("from-cert"), .customLong("from-tls-cert")],
        help: ArgumentHelp("Certificate to show to the source, a PEM file ($BERTH_FROM_CERT).", valueName: "file"))
    var fromCertificate: String?

    @Option(
        name: [.customLong("from-key"), .customLong("from-tls-key")],
        help: ArgumentHelp("Key of that certificate, a PEM file ($BERTH_FROM_KEY).", valueName: "file"))
    var fromCertificateKey: String?

    @Flag(help: "Take any certificate of the source ($BERTH_FROM_INSECURE_SKIP_TLS_VERIFY).")
    var fromInsecureSkipTlsVerify = false

    @Option(
        help: ArgumentHelp(
            "User at the source, with the password behind a colon, or asked for ($BERTH_FROM_USER).",
            valueName: "name[:password]"))
    var fromUser: String?

    @Option(
        help: ArgumentHelp(
            "That user's password; better in the environment ($BERTH_FROM_PASSWORD).", valueName: "text"))
    var fromPassword: String?

    /// Of either side, in bytes: a bound on memory where many large values follow small ones.
    static let longestAnswer = 64 << 20

    /// What to connect with.
    func configuration(timeout: Duration) throws(Failure) -> BerthConfiguration {
        let user = ConnectionSources.value(fromUser, "BERTH_FROM_USER")
        let isPasswordWanted = user?.contains(":") == false
        let sources = ConnectionSources(
            endpoints: fromEtcd,
            authorities: ConnectionSources.value(fromAuthorities, "BERTH_FROM_CACERT", "BERTH_FROM_TLS_CA"),
            certificate: ConnectionSources.value(fromCertificate, "BERTH_FROM_CERT", "BERTH_FROM_TLS_CERT"),
            key: ConnectionSources.value(fromCertificateKey, "BERTH_FROM_KEY", "BERTH_FROM_TLS_KEY"),
            skipsVerification: try ConnectionSources.isSet(
                fromInsecureSkipTlsVerify, "BERTH_FROM_INSECURE_SKIP_TLS_VERIFY"),
            user: user,
            password: fromPassword
                ?? (isPasswordWanted ? ConnectionSources.value(nil, "BERTH_FROM_PASSWORD") : nil),
            options: "--from-")
        var configuration = try sources.configuration(timeout: timeout)
        configuration.longestAnswer = Self.longestAnswer
        return configuration
    }
}
