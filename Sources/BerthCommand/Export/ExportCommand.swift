import ArgumentParser
import Berth
import CommandText

/// `berth export`.
struct ExportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "Copy a running Berth's keys and leases into a running etcd, and compare.",
        discussion: """
            The twin of berth import. All keys are copied as of one revision; what is written to this Berth later is not. \
            Leases keep their numbers and times to live, and their time starts anew. Keys on leases keep their order, so \
            lines at locks stay as they are; revisions, versions and history are not copied, nor what etcd has no word \
            for, as guards are. Nothing is deleted. Afterwards both sides are read anew and compared: exit status 1 when \
            they differ. The options without --to are the source's.

            To take revisions and history along as well: etcdctl snapshot save from this Berth, then etcdctl snapshot \
            restore.
            """)

    @OptionGroup var target: TargetConnection

    @Option(
        help: ArgumentHelp("Keys that begin so, and the leases they hang on (default: everything).", valueName: "text"))
    var prefix = ""

    @Flag(help: "Overwrite keys the target has; without it a target with such keys is refused.")
    var overwrite = false

    @Flag(help: "Count and measure what would be copied and what is in the way; write nothing.")
    var dryRun = false

    @OptionGroup var connection: Connection

    func run() async throws {
        let to: BerthConfiguration
        do { to = try target.configuration(timeout: connection.timeout.duration) } catch { throw error.told() }
        try await connection.run(longestAnswer: SourceConnection.longestAnswer) { source in
            try await BerthClient.with(to) { target in
                let transfer = Transfer(from: source, to: target, prefix: Bytes(prefix), overwrites: overwrite)
                let show = TransferShow(done: "exported", writeOut: connection.writeOut)
                if dryRun { try await show.survey(transfer) } else { try await show.run(transfer) }
            }
        }
    }
}
