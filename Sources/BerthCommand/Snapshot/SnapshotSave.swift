import ArgumentParser
import Berth
import CommandText
import Server
import Supervision

/// `berth snapshot save`: a server's store into a file.
struct SnapshotSave: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "save", abstract: "Copy a server's store into a file, while it goes on serving.",
        discussion: """
            Everything that was acknowledged before the command began is in the file. It is written beside its name, as \
            FILE.part, read back and verified, and gets its name only then: a FILE that exists is whole. A FILE that \
            exists already is not overwritten.
            """)

    @Argument(help: "The file to make.", completion: .file())
    var file: String

    @OptionGroup var connection: Connection

    func run() async throws {
        try await connection.run { client in
            let start = ContinuousClock.now
            let target = try PartFile(file)
            defer { target.discard() }
            var bar = ProgressLine(isShown: connection.writeOut == .simple)
            try await client.copyStore { part in
                try target.write(part.bytes)
                bar.show("saving", part.done, of: part.total, bytes: target.size)
            }
            try target.sync()
            let description: SnapshotFile.Description
            do throws(SnapshotFile.Failure) {
                description = try SnapshotFile.describe(target.partPath) { read, size in
                    bar.show("verifying", UInt64(read), of: UInt64(size), bytes: read)
                }
            } catch {
                throw Failure("what was received is no whole snapshot: \(error)")
            }
            try target.finish()
            bar.clear()
            let duration = ContinuousClock.now - start
            switch connection.writeOut {
            case .simple:
                Output.line(
                    "saved revision \(description.revision) (\(description.keys) keys) to \(file): "
                        + "\(SizeText.short(description.sizeInBytes)), hash \(description.hashText), "
                        + "\(DurationText.short(duration))")
            case .json:
                Output.line(
                    .object(
                        [.init("file", file)] + description.fields + [.init("duration_ms", milliseconds: duration)]))
            }
        }
    }
}
