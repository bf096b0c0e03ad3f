import Logging
import Server
import ServiceLifecycle
import Store
import UnixSignals

#if canImport(Glibc)
    import Glibc
#endif

/// `berth serve` with a fault planted in it, so that `tools/rig-powercut` can show that it notices. It must never become
/// a product, and `berth` must never learn its options.
///
///     berth-faulty FAULT serve --data-dir DIR --listen-client-urls URL [--snapshot-count COUNT]
///
/// With the fault `none` it is sound, to show that what the rig notices is the fault's doing.
@main
struct FaultyBerth {
    static func main() async {
        do {
            try await run(Array(CommandLine.arguments.dropFirst()))
        } catch {
            var message = "berth-faulty: \(error)\n"
            message.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
            exit(EXIT_FAILURE)
        }
    }

    private static func run(_ arguments: [String]) async throws {
        var settings = try settings(arguments)
        switch arguments.first {
        case "none": break
        case "truncate-before-flush": settings.faults.truncatesBeforeFlush = true
        case "index-before-data": settings.faults.appliedIndexCommit = .beforeData
        case "index-after-data": settings.faults.appliedIndexCommit = .afterData
        default:
            throw SettingsError(
                "the first argument is the fault: none, truncate-before-flush, index-before-data or index-after-data")
        }
        let logger = Logger(label: "berth-faulty", factory: { StreamLogHandler.standardError(label: $0) })
        let server = BerthServer(settings: settings, logger: logger) { report in
            print("berth-faulty ready: serving, revision \(report.revision)")
            fflush(nil)
        }
        let services = ServiceGroup(
            configuration: .init(
                services: [.init(service: server, successTerminationBehavior: .gracefullyShutdownGroup)],
                gracefulShutdownSignals: [.sigterm, .sigint], logger: logger))
        try await services.run()
    }

    /// The options of `berth serve` that the rig gives; others are passed over. Flushes come as often as they may.
    private static func settings(_ arguments: [String]) throws -> ServerSettings {
        func option(_ name: String) -> String? {
            guard let place = arguments.firstIndex(of: name), place + 1 < arguments.count else { return nil }
            return arguments[place + 1]
        }
        guard let directory = option("--data-dir"), let url = option("--listen-client-urls") else {
            throw SettingsError("--data-dir and --listen-client-urls are needed; the rig gives them")
        }
        var settings = try ServerSettings(
            name: "faulty", dataDirectory: directory, listenClientURLs: [try ClientURL(parsing: url)],
            advertiseClientURLs: nil, quotaBackendBytes: 0, maxRequestBytes: ServerSettings.defaultMaxRequestBytes,
            maxTxnOps: ServerSettings.defaultMaxTxnOps)
        settings.flush = try FlushSettings(interval: .milliseconds(200))
        if let count = option("--snapshot-count").flatMap({ Int($0) }) { settings.snapshotCount = count }
        return settings
    }
}
