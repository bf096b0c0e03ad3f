import ArgumentParser
import CommandText
import Server

/// `berth snapshot restore`: a data folder from a snapshot file.
struct SnapshotRestore: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Make a data folder from a snapshot file.",
        discussion: """
            The folder must not exist, or be empty. It holds everything that is in the file, under a new cluster id: a \
            server that is started on it is a new cluster of one member. Nothing is left behind when the file is damaged.

            Revisions, and fencing tokens with them, that were given out after the file was made would be given out again: \
            --bump-revision leaves them out.

            A file that etcdctl snapshot save made is taken as well: keys with their revisions and versions, leases, users \
            and roles come along. A copy of etcd's own member/snap/db, which has no SHA-256 at its end, needs \
            --skip-hash-check.
            """)

    @Argument(help: "The file.", completion: .file())
    var file: String

    @Option(help: ArgumentHelp("The data folder to make.", valueName: "dir"), completion: .directory)
    var dataDir: String

    @Option(
        help: ArgumentHelp(
            "Add this to the revision, and compact to the sum: more than was written since the file was made.",
            valueName: "number"))
    var bumpRevision: Int64 = 0

    @Flag(help: "Take a file of etcd's without a SHA-256 at its end, as a copy of its member/snap/db is one.")
    var skipHashCheck = false

    @Option(name: [.customShort("w"), .customLong("write-out")], help: "How to write the answer.")
    var writeOut = WriteOut.simple

    func validate() throws {
        if dataDir.isEmpty { throw ValidationError("--data-dir is empty; name the folder to make") }
        if bumpRevision < 0 { throw ValidationError("--bump-revision is negative; revisions only grow") }
    }

    func run() throws {
        let start = ContinuousClock.now
        var bar = ProgressLine(isShown: writeOut == .simple)
        let restored: SnapshotFile.Restored
        do throws(SnapshotFile.Failure) {
            restored = try SnapshotFile.restore(
                file, into: dataDir, bump: bumpRevision, skipHashCheck: skipHashCheck
            ) { read, size in
                bar.show("restoring", UInt64(read), of: UInt64(size), bytes: read)
            }
        } catch {
            bar.clear()
            throw Failure("\(error)").told()
        }
        bar.clear()
        let duration = ContinuousClock.now - start
        let cluster = SnapshotFile.Description.hex(restored.clusterID)
        let member = SnapshotFile.Description.hex(restored.memberID)
        let hash = SnapshotFile.Description.hex(UInt64(restored.hash), digits: 8)
        switch writeOut {
        case .simple:
            Output.line(
                "restored revision \(restored.sourceRevision)"
                    + (restored.revision > restored.sourceRevision ? " as \(restored.revision)" : "")
                    + " (\(restored.keys) keys) into \(dataDir): "
                    + "hash \(hash), new cluster \(cluster), \(DurationText.short(duration))")
            for line in restored.notes { Output.line(line) }
            if restored.clearedAlarms > 0 {
                Output.line("the alarm NOSPACE was left behind; it comes back if this server's quota is too small")
            }
        case .json:
            Output.line(
                .object(
                    [
                        .init("file", file), .init("data_dir", dataDir), .init("hash", hash),
                        .init("revision", restored.revision), .init("keys", restored.keys),
                        .init("cluster", cluster), .init("member", member),
                        .init("cleared_alarms", restored.clearedAlarms), .init("duration_ms", milliseconds: duration),
                    ] + restored.etcdFields))
        }
    }
}
