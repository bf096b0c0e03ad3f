import ArgumentParser
import Berth
import FoundationEssentials
import Supervision

#if canImport(Glibc)
    import Glibc
#endif

/// `berth demo`: the story of workers A, B and C, with real processes.
struct DemoCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo", abstract: "Play a lock's story with real processes and a server of its own.",
        discussion: """
            Starts a server on a free loopback port with a temporary folder, and workers A, B and C as processes of \
            their own. Exit status 0 only if every step went as told. Takes about three seconds, the time to live of a \
            worker that is stopped.
            """)

    func run() async throws {
        let signals = SignalRouter()
        let played = await signals.cancelling { try await Self.play() }
        if let signal = played.signal { throw ExitCode(CommandEnd.killed(signal).status) }
        do { try played.result.get() } catch { throw Failure(error).told() }
    }

    private static func play() async throws {
        let folder = try temporaryFolder()
        defer { remove(folder) }
        let stage = try await DemoStage(folder: folder)
        let result: Result<Void, any Error>
        do {
            try await Story(stage: stage).tell()
            result = .success(())
        } catch {
            result = .failure(error)
        }
        await stage.clear()
        try result.get()
    }

    private static func temporaryFolder() throws(Failure) -> String {
        let parent = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array("\(parent)/berth-demo.XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw Failure("cannot make a folder in \(parent): \(String(cString: strerror(errno)))")
        }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private static func remove(_ folder: String) {
        do {
            try FileManager.default.removeItem(atPath: folder)
        } catch {
            Output.complain("cannot remove \(folder): \(error)")
        }
    }
}
