import ArgumentParser
import Berth

/// The options that name the store which is read.
struct SourceConnection: ParsableArguments {
    @Option(help: ArgumentHelp("The source's servers, separated by commas.", valueName: "urls"))
    var fromEtcd: String

    @Option(
        help: ArgumentHelp("Authorities the source is judged by, a PEM file ($BERTH_FROM_TLS_CA).", valueName: "file"))
    var fromTlsCa: String?

    @Option(
        help: ArgumentHelp("Certificate to show to the source, a PEM file ($BERTH_FROM_TLS_CERT).", valueName: "file"))
    var fromTlsCert: String?

    @Option(help: ArgumentHelp("Key of that certificate, a PEM file ($BERTH_FROM_TLS_KEY).", valueName: "file"))
    var fromTlsKey: String?

    @Option(help: ArgumentHelp("User and password at the source ($BERTH_FROM_USER).", valueName: "name:password"))
    var fromUser: String?

    /// Of either side, in bytes: a bound on memory where many large values follow small ones.
    static let longestAnswer = 64 << 20

    /// What to connect with.
    func configuration(timeout: Duration) throws(Failure) -> BerthConfiguration {
        var configuration = try Connection.configuration(
            endpoints: fromEtcd, authorities: Connection.value(fromTlsCa, "BERTH_FROM_TLS_CA"),
            certificate: Connection.value(fromTlsCert, "BERTH_FROM_TLS_CERT"),
            key: Connection.value(fromTlsKey, "BERTH_FROM_TLS_KEY"),
            user: Connection.value(fromUser, "BERTH_FROM_USER"), timeout: timeout, options: "--from-")
        configuration.longestAnswer = Self.longestAnswer
        return configuration
    }
}
