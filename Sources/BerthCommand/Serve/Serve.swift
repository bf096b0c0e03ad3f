import ArgumentParser
import Configuration
import Logging
import Server
import ServiceLifecycle
import UnixSignals

#if canImport(Glibc)
    import Glibc
#endif

/// `berth serve`: one member, until SIGTERM or Ctrl-C.
///
/// Its settings stand in `ServeTable`, which reads the arguments as well: a hundred flags with etcd's rules, variables and a
/// file are one table there, and would be three of ArgumentParser's.
struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve clients from a data folder until SIGTERM or Ctrl-C.",
        usage: usage, discussion: "berth serve --help lists the flags.")

    private static let usage = "berth serve [--NAME VALUE | --NAME=VALUE] ..."

    @Argument(
        parsing: .captureForPassthrough, help: ArgumentHelp(visibility: .hidden),
        completion: .list(ServeTable.table.settings.map { "--\($0.name)" }))
    var arguments: [String] = []

    func run() async throws {
        let start: Start
        do {
            guard let prepared = try prepare() else { return }
            start = prepared
        } catch {
            throw Self.failure("\(error)", code: EX_USAGE)
        }
        var logger = Logger(label: "berth", factory: start.log.handler(label:))
        logger.logLevel = start.level
        for notice in start.notices {
            logger.log(level: notice.isWarning ? .warning : .notice, "\(notice.text)")
        }
        try await serve(start, logger)
    }

    private struct Start {
        var settings: ServerSettings
        var level: Logger.Level
        var log: LogSink
        var given: GivenSettings<ServeChoices>
        var notices: [GivenSettings<ServeChoices>.Notice]
    }

    /// All that can be wrong before a server is started; nil when there is nothing to start.
    private func prepare() throws -> Start? {
        var configuration = try GivenSettings(
            ServeTable.table, arguments: arguments, variables: Environment.variables(),
            readFile: { try TextFile.read($0) })
        if let help = configuration["help"] {
            print(help.text == "markdown" ? ServeTable.table.markdown : Self.help, terminator: "")
            return nil
        }
        if configuration["version"] != nil {
            print(ServeVersion.text)
            return nil
        }
        var choices = ServeChoices()
        try configuration.apply(to: &choices)
        let settings: ServerSettings
        do {
            settings = try choices.settings()
            // What the start refuses is refused by --check-config too.
            _ = try ListenPlan(settings)
        } catch {
            throw configuration.placed(error.description)
        }
        if DataFolder(settings.dataDirectory).isEtcds {
            throw ConfigurationError(
                "--data-dir is '\(settings.dataDirectory)', where an etcd keeps its data; expected a folder of Berth's own: "
                    + "see berth import --help, or berth snapshot restore --help for a snapshot that etcdctl saved")
        }
        var notices = configuration.notices
        notices += choices.warnings.map { .init(isWarning: true, text: $0) }
        if try configuration["check-config"]?.boolean() == true {
            EffectiveSettings.write(configuration.effective, notices)
            return nil
        }
        return Start(
            settings: settings, level: choices.log.level, log: try LogSink(choices.log), given: configuration,
            notices: notices)
    }

    private func serve(_ start: Start, _ logger: Logger) async throws {
        let server = BerthServer(settings: start.settings, logger: logger) { report in
            let serving = [
                ("serving", report.addresses), ("HTTP at", report.httpAddresses),
                ("metrics at", report.metricsAddresses),
            ].filter { !$0.1.isEmpty }.map { "\($0) \($1.map(\.description).joined(separator: ","))" }
            print(
                "berth ready: \(serving.joined(separator: ", ")), data folder \(report.dataDirectory), "
                    + "revision \(report.revision)")
            fflush(nil)
            logger.info("ready to serve client requests")
            Systemd.tell("READY=1")
        }
        var quiet = logger
        quiet.logLevel = max(logger.logLevel, .warning)
        let services = ServiceGroup(
            configuration: .init(
                services: [.init(service: server, successTerminationBehavior: .gracefullyShutdownGroup)],
                gracefulShutdownSignals: [.sigterm, .sigint], logger: quiet))
        do {
            try await services.run()
        } catch let error as SettingsError {
            throw Self.failure("\(start.given.placed(error.description))", code: EX_USAGE)
        } catch {
            throw Self.failure("\(error)", code: EXIT_FAILURE)
        }
    }

    private static var help: String {
        """
        Serve clients from a data folder until SIGTERM or Ctrl-C.

        Usage: \(usage)

        A flag is an environment variable too, BERTH_ and its name in capitals with underscores (BERTH_DATA_DIR), and a key of
        the YAML file that --config-file names. A flag wins over a variable, a variable over the file. etcd's flags and
        ETCD_ variables are known; docs/configuration.md says what Berth does with each.


        """ + ServeTable.table.helpText
    }

    /// One line on standard error, and a status for scripts.
    private static func failure(_ line: String, code: Int32) -> ExitCode {
        let line = line.split(separator: "\n", omittingEmptySubsequences: true).joined(separator: " ")
        var message = "berth: \(line)\n"
        message.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
        return ExitCode(code)
    }
}

/// What `berth serve --version` prints. Scripts read etcd's version from the first line, as etcd prints it.
enum ServeVersion {
    static var text: String {
        """
        etcd Version: \(ServerSettings.etcdVersion)
        Berth Version: \(Berth.configuration.version.split(separator: " ").last ?? "")
        """
    }
}
