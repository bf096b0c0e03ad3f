import Foundation
import Synchronization

/// A real etcd in a process of its own, on ports of the system's choice and a folder of its own.
enum EtcdProcess {
    /// Where Debian's package puts it.
    static let path = "/usr/bin/etcd"

    private struct NeverReady: Error {}

    /// Serves while `body` runs, then stops it and removes the folder.
    static func run(
        _ arguments: [String] = [], scheme: String = "http", _ body: (_ port: Int) async throws -> Void
    ) async throws {
        try InstalledTool.check(path)
        let folder = FileManager.default.temporaryDirectory.appending(path: "berth-etcd-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        let process = Process()
        process.executableURL = URL(filePath: path)
        let peer = "http://127.0.0.1:0"
        process.arguments =
            [
                "--data-dir", folder.path, "--logger", "zap", "--log-outputs", "stderr",
                "--listen-client-urls", "\(scheme)://127.0.0.1:0", "--advertise-client-urls", "\(scheme)://127.0.0.1:0",
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", "default=\(peer)", "--unsafe-no-fsync",
            ] + arguments
        let errors = Pipe()
        process.standardError = errors
        process.standardOutput = FileHandle.nullDevice
        let (ports, found) = AsyncStream.makeStream(of: Int.self)
        let unread = Mutex("")
        errors.fileHandleForReading.readabilityHandler = { handle in
            let bytes = handle.availableData
            if bytes.isEmpty {
                handle.readabilityHandler = nil
                found.finish()
                return
            }
            let port = unread.withLock { text -> Int? in
                text += String(decoding: bytes, as: UTF8.self)
                return servedPort(in: text)
            }
            if let port { found.yield(port) }
        }
        let (ends, ended) = AsyncStream.makeStream(of: Void.self)
        process.terminationHandler = { _ in ended.finish() }
        try process.run()
        let result: Result<Void, any Error>
        do {
            guard let port = await ports.first(where: { _ in true }) else { throw NeverReady() }
            try await body(port)
            result = .success(())
        } catch {
            result = .failure(error)
        }
        process.terminate()
        for await _ in ends {}
        errors.fileHandleForReading.readabilityHandler = nil
        try result.get()
    }

    /// etcd logs the address once it serves.
    private static func servedPort(in log: String) -> Int? {
        guard let line = log.split(separator: "\n").first(where: { $0.contains("serving client traffic") }),
            let address = line.split(separator: "\"address\":\"").last?.prefix(while: { $0 != "\"" })
        else { return nil }
        return address.split(separator: ":").last.flatMap { Int($0) }
    }
}

/// A program that `tools/install --test` installs. A test that needs it fails without it, and says so.
enum InstalledTool {
    struct Missing: Error, CustomStringConvertible {
        let path: String
        var description: String { "\(path) is missing: tools/install --test installs it" }
    }

    static func check(_ path: String) throws(Missing) {
        guard FileManager.default.isExecutableFile(atPath: path) else { throw Missing(path: path) }
    }
}
