import ArgumentParser
import Berth

/// The options that name the store which is written.
struct TargetConnection: ParsableArguments {
    @Option(help: ArgumentHelp("The target's servers, separated by commas.", valueName: "urls"))
    var toEtcd: String

    @Option(
        help: ArgumentHelp("Authorities the target is judged by, a PEM file ($BERTH_TO_TLS_CA).", valueName: "file"))
    var toTlsCa: String?

    @Option(
        help: ArgumentHelp("Certificate to show to the target, a PEM file ($BERTH_TO_TLS_CERT).", valueName: "file"))
    var toTlsCert: String?

    @Option(help: ArgumentHelp("Key of that certificate, a PEM file ($BERTH_TO_TLS_KEY).", valueName: "file"))
    var toTlsKey: String?

    @Option(help: ArgumentHelp("User and password at the target ($BERTH_TO_USER).", valueName: "name:password"))
    var toUser: String?

    /// What to connect with.
    func configuration(timeout: Duration) throws(Failure) -> BerthConfiguration {
        var configuration = try Connection.configuration(
            endpoints: toEtcd, authorities: Connection.value(toTlsCa, "BERTH_TO_TLS_CA"),
            certificate: Connection.value(toTlsCert, "BERTH_TO_TLS_CERT"),
            key: Connection.value(toTlsKey, "BERTH_TO_TLS_KEY"), user: Connection.value(toUser, "BERTH_TO_USER"),
            timeout: timeout, options: "--to-")
        configuration.longestAnswer = SourceConnection.longestAnswer
        return configuration
    }
}
