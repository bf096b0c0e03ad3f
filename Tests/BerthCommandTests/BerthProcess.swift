import Dispatch
import Supervision
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// A process of the program under test, which stands beside the tests' own program.
final class BerthProcess: Sendable {
    let process: ChildProcess
    private let input: Int32
    private let output: AsyncStream<String>
    private let ends: AsyncStream<CommandEnd>

    /// Where the program is.
    static let path: String = {
        guard let own = realpath("/proc/self/exe", nil) else { preconditionFailure("this program has no file") }
        defer { free(own) }
        return String(cString: own).split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" } + "/berth"
    }()

    /// Starts it. Its standard error goes where its standard output goes.
    init(_ arguments: [String], endpoint: String = "") throws {
        let toChild = Self.pipe()
        let fromChild = Self.pipe()
        defer {
            close(toChild.far)
            close(fromChild.far)
        }
        process = try ChildProcess.start(
            ["berth"] + arguments, program: Self.path,
            variables: ["BERTH_ENDPOINTS": endpoint, "BERTH": Self.path], input: .descriptor(toChild.far),
            output: .descriptor(fromChild.far), errors: .descriptor(fromChild.far))
        input = toChild.near
        output = Self.lines(of: fromChild.near)
        ends = Self.end(of: process)
    }

    deinit { close(input) }

    /// The next line it writes; nil at the end.
    func line() async -> String? { await output.first { _ in true } }

    /// The first line that contains this; nil when none comes. A shell may say more, such as who was terminated.
    func line(with text: String) async -> String? {
        while let line = await line() {
            if line.contains(text) { return line }
        }
        return nil
    }

    /// Its status, once it has ended.
    func status() async throws -> Int32 { try #require(await ends.first { _ in true }).status }

    /// Everything else it writes, and its status.
    func rest() async throws -> (status: Int32, lines: [String]) {
        var lines: [String] = []
        while let line = await line() { lines.append(line) }
        return (try await status(), lines)
    }

    /// Ends its standard input.
    func closeInput() { shutdown(input, Int32(SHUT_WR)) }

    private static func pipe() -> (near: Int32, far: Int32) {
        var ends: [Int32] = [-1, -1]
        let made = socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &ends)
        precondition(made == 0, "a test machine has descriptors to spare")
        return (ends[0], ends[1])
    }

    private static func lines(of descriptor: Int32) -> AsyncStream<String> {
        let (stream, feed) = AsyncStream.makeStream(of: String.self)
        DispatchQueue(label: "output").async {
            var rest: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 4096)
            while true {
                let count = read(descriptor, &buffer, buffer.count)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { break }
                rest += buffer.prefix(count)
                var lines = rest.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
                rest = Array(lines.removeLast())
                for line in lines { feed.yield(String(decoding: line, as: UTF8.self)) }
            }
            close(descriptor)
            feed.finish()
        }
        return stream
    }

    private static func end(of process: ChildProcess) -> AsyncStream<CommandEnd> {
        let (stream, feed) = AsyncStream.makeStream(of: CommandEnd.self)
        DispatchQueue(label: "end").async {
            while true {
                guard case .ended(let end) = process.wait() else { continue }
                process.reap()
                feed.yield(end)
                return feed.finish()
            }
        }
        return stream
    }
}

/// A server of a test's own, on a free port with a folder of its own.
final class TestServer: Sendable {
    let server: BerthProcess
    let endpoint: String

    private init(_ server: BerthProcess, _ endpoint: String) {
        self.server = server
        self.endpoint = endpoint
    }

    /// Runs a test beside a server.
    static func with(_ body: (TestServer) async throws -> Void) async throws {
        var template = Array("/tmp/berth-command-tests.XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let server = try BerthProcess([
            "serve", "--data-dir", folder, "--listen-client-urls", "http://127.0.0.1:0", "--log-level", "error",
        ])
        let line = try #require(await server.line())
        let word = try #require(line.split(separator: " ").first { $0.hasPrefix("http://") })
        let result: Result<Void, any Error>
        do {
            result = .success(try await body(TestServer(server, String(word.dropLast()))))
        } catch {
            result = .failure(error)
        }
        server.process.send(.terminate)
        _ = try await server.status()
        let removal = try ChildProcess.start(["rm", "-rf", folder])
        removal.reap()
        try result.get()
    }

    /// Starts a command.
    func start(_ arguments: String...) throws -> BerthProcess { try BerthProcess(arguments, endpoint: endpoint) }

    /// Runs a command to its end.
    func run(_ arguments: String...) async throws -> (status: Int32, lines: [String]) {
        let process = try BerthProcess(arguments, endpoint: endpoint)
        process.closeInput()
        return try await process.rest()
    }

    /// Waits until so many wait in line, by the events of the line.
    func waiters(_ count: Int, for lock: String) async throws {
        let watch = try start("locks", "watch", lock, "--rev", "1", "-w", "json")
        defer { watch.process.send(.kill) }
        while try await run("locks", "show", lock, "-w", "json").lines.first?.contains("\"waiters\":\(count),") != true
        {
            try #require(await watch.line() != nil)
        }
    }
}
