import ArgumentParser
import Berth
import CommandText

/// `berth import`.
struct ImportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Copy a running etcd's keys and leases into a running Berth, and compare.",
        discussion: """
            All keys are copied as of one revision; what is written to the source later is not. Leases keep their \
            numbers and times to live, and their time starts anew. Keys on leases keep their order, so lines at locks \
            stay as they are; revisions, versions and history are not copied. Nothing is deleted. Afterwards both sides \
            are read anew and compared: exit status 1 when they differ. The options without --from are the target's.
            """)

    @OptionGroup var source: SourceConnection

    @Option(
        help: ArgumentHelp("Keys that begin so, and the leases they hang on (default: everything).", valueName: "text"))
    var prefix = ""

    @Flag(help: "Overwrite keys the target has; without it a target with such keys is refused.")
    var overwrite = false

    @Flag(help: "Count and measure what would be copied and what is in the way; write nothing.")
    var dryRun = false

    @OptionGroup var connection: Connection

    func run() async throws {
        let from: BerthConfiguration
        do { from = try source.configuration(timeout: connection.timeout.duration) } catch { throw error.told() }
        try await connection.run(longestAnswer: SourceConnection.longestAnswer) { target in
            try await BerthClient.with(from) { source in
                let transfer = Transfer(from: source, to: target, prefix: Bytes(prefix), overwrites: overwrite)
                let show = TransferShow(done: "imported", writeOut: connection.writeOut)
                if dryRun { try await show.survey(transfer) } else { try await show.run(transfer) }
            }
        }
    }
}
