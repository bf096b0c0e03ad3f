import Berth
import Supervision

/// What the demonstration plays on: a server of its own with a folder of its own, and the processes it started. Ends
/// them all by their numbers, whatever happens.
actor DemoStage {
    private var processes: [DemoProcess] = []
    private var ended: Set<Int32> = []
    let endpoint: String
    private let server: DemoProcess

    /// Longest wait for anything on the stage.
    static let patience = Duration.seconds(30)

    init(folder: String) async throws {
        server = try DemoProcess(
            [
                "serve", "--data-dir", folder, "--listen-client-urls", "http://127.0.0.1:0", "--log-level", "error",
            ])
        processes = [server]
        var endpoint: String?
        do {
            while endpoint == nil {
                guard let line = try await Self.within({ [server] in await server.line() }) else { break }
                endpoint = line.split(separator: " ").first { $0.hasPrefix("http://") }.map { String($0.dropLast()) }
            }
        } catch {
            server.process.send(.kill)
            throw error
        }
        guard let endpoint else { throw Failure("the server did not start; expected a line with its address") }
        self.endpoint = endpoint
    }

    /// Starts a worker: a `berth` process that acquires a lock and holds it.
    func start(_ arguments: [String]) throws -> DemoProcess {
        let process = try DemoProcess(arguments, variables: ["BERTH_ENDPOINTS": endpoint])
        processes.append(process)
        return process
    }

    /// Runs a `berth` command to its end.
    func run(_ arguments: [String], _ variables: [String: String] = [:]) async throws -> (
        status: Int32, lines: [String]
    ) {
        let process = try DemoProcess(
            arguments, variables: variables.merging(["BERTH_ENDPOINTS": endpoint]) { $1 })
        processes.append(process)
        var lines: [String] = []
        while let line = try await Self.within({ await process.line() }) { lines.append(line) }
        return (try await status(of: process), lines)
    }

    /// A process's exit status, once it has ended.
    func status(of process: DemoProcess) async throws -> Int32 {
        guard let end = try await Self.within({ await process.end() }) else { throw Failure("a process ended twice") }
        ended.insert(process.process.id)
        return end.status
    }

    /// Ends whatever still runs: the server in order, the others at once.
    func clear() async {
        for process in processes where process !== server && !ended.contains(process.process.id) {
            process.process.send(.kill)
            _ = await process.end()
        }
        server.process.send(.terminate)
        _ = await server.end()
    }

    /// Waits for something, but not for ever.
    static func within<Value: Sendable>(_ body: @escaping @Sendable () async -> Value?) async throws -> Value? {
        try await withThrowingTaskGroup(of: Value?.self) { group in
            group.addTask { await body() }
            group.addTask {
                try await Task.sleep(for: patience)
                throw Failure("nothing happened for \(patience.components.seconds) seconds")
            }
            defer { group.cancelAll() }
            return try await group.next() ?? nil
        }
    }
}
