import ArgumentParser
import Logging
import Server
import ServiceLifecycle
import UnixSignals

#if canImport(Glibc)
    import Glibc
#endif

/// `berth serve`: one member, until SIGTERM or Ctrl-C.
struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve clients from a data folder until SIGTERM or Ctrl-C.",
        discussion: """
            Every option can be given as an environment variable too: BERTH_ and its name in capitals with underscores, \
            such as BERTH_DATA_DIR. An option on the command line wins.
            """)

    @Option(help: ArgumentHelp("Folder of the store; made when it does not exist.", valueName: "dir"))
    var dataDir: String?

    @Option(help: ArgumentHelp("Addresses to accept clients on, separated by commas.", valueName: "urls"))
    var listenClientUrls: String?

    @Option(
        help: ArgumentHelp(
            "Addresses clients are told to dial (default: the listen addresses).", valueName: "urls"))
    var advertiseClientUrls: String?

    @Option(help: "This member's name.")
    var name: String?

    @Option(help: ArgumentHelp("trace, debug, info, notice, warning, error or critical.", valueName: "level"))
    var logLevel: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Bytes in use from which writes are refused; 0 is 2 GiB, a negative number is no limit.",
            valueName: "bytes"))
    var quotaBackendBytes: String?

    @Option(help: ArgumentHelp("Largest write request in bytes (default: 1572864).", valueName: "bytes"))
    var maxRequestBytes: String?

    @Option(help: ArgumentHelp("Most operations in one transaction (default: 128).", valueName: "count"))
    var maxTxnOps: String?

    @Option(
        help: ArgumentHelp("Revisions after which the store is flushed to disk (default: 32768).", valueName: "count"))
    var flushRevisions: String?

    @Option(
        help: ArgumentHelp(
            "Bytes of keys and values after which the store is flushed to disk (default: 16777216).", valueName: "bytes"
        ))
    var flushBytes: String?

    @Option(
        help: ArgumentHelp(
            "Longest time from a write to the flush of the store (default: 5s); 0 for no flush by time.",
            valueName: "time"))
    var flushInterval: String?

    @Option(
        help: ArgumentHelp(
            "Log entries between checkpoints, behind which the log is cut (default: 32768, or --flush-revisions if more).",
            valueName: "count"))
    var snapshotCount: String?

    @Option(
        help: ArgumentHelp(
            "What --auto-compaction-retention counts: periodic (default) or revision.", valueName: "mode"))
    var autoCompactionMode: String?

    @Option(
        help: ArgumentHelp(
            "History that automatic compaction keeps: hours or a time such as 72h, or a number of revisions; 0 is off.",
            valueName: "what"))
    var autoCompactionRetention: String?

    func run() async throws {
        let settings: ServerSettings
        let level: Logger.Level
        do {
            settings = try resolve()
            level = try resolveLogLevel()
        } catch {
            throw Self.failure("\(error)", code: EX_USAGE)
        }
        var logger = Logger(label: "berth", factory: { StreamLogHandler.standardError(label: $0) })
        logger.logLevel = level
        let server = BerthServer(settings: settings, logger: logger) { report in
            let addresses = report.addresses.map(\.description).joined(separator: ",")
            print(
                "berth ready: serving \(addresses), data folder \(report.dataDirectory), revision \(report.revision)")
            fflush(nil)
        }
        var quiet = logger
        quiet.logLevel = max(level, .warning)
        let services = ServiceGroup(
            configuration: .init(
                services: [.init(service: server, successTerminationBehavior: .gracefullyShutdownGroup)],
                gracefulShutdownSignals: [.sigterm, .sigint], logger: quiet))
        do {
            try await services.run()
        } catch {
            throw Self.failure("\(error)", code: EXIT_FAILURE)
        }
    }

    /// One line on standard error, and a status for scripts.
    private static func failure(_ line: String, code: Int32) -> ExitCode {
        let line = line.split(separator: "\n", omittingEmptySubsequences: true).joined(separator: " ")
        var message = "berth: \(line)\n"
        message.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
        return ExitCode(code)
    }
}
