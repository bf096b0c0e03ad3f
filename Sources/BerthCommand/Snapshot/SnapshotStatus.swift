import ArgumentParser
import CommandText
import Server

/// `berth snapshot status`: what is in a snapshot file.
struct SnapshotStatus: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Read a snapshot file to its end, verify it, and tell what is in it.",
        discussion: """
            No server is needed. A file that is cut off or damaged in any place is refused. Files that etcdctl snapshot \
            save made are understood too; hash, revision, keys and size are what etcdctl snapshot status prints then.
            """)

    @Argument(help: "The file.", completion: .file())
    var file: String

    @Flag(help: "Take a file of etcd's without a SHA-256 at its end, as a copy of its member/snap/db is one.")
    var skipHashCheck = false

    @Option(name: [.customShort("w"), .customLong("write-out")], help: "How to write the answer.")
    var writeOut = SnapshotWriteOut.simple

    func run() throws {
        var bar = ProgressLine(isShown: writeOut != .json)
        let contents: SnapshotFile.Contents
        do throws(SnapshotFile.Failure) {
            contents = try SnapshotFile.inspect(file, skipHashCheck: skipHashCheck) { read, size in
                bar.show("verifying", UInt64(read), of: UInt64(size), bytes: read)
            }
        } catch {
            bar.clear()
            throw Failure("\(error)").told()
        }
        bar.clear()
        switch writeOut {
        case .simple: for line in contents.lines { Output.line(line) }
        case .table: for line in TableText.lines(contents.rows) { Output.line(line) }
        case .json: Output.line(.object([.init("file", file)] + contents.fields))
        }
    }
}
