import Foundation

/// A folder of certificates that openssl makes; removed with `remove`.
struct CertificateFolder {
    let url: URL

    init() throws {
        url = FileManager.default.temporaryDirectory.appending(path: "berth-certificates-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    func remove() { try? FileManager.default.removeItem(at: url) }

    func path(_ file: String) -> String { url.appending(path: file).path }

    /// Makes `NAME.pem` and `NAME-key.pem`, which vouches for itself.
    func make(_ name: String, subject: String) async throws {
        try await openssl([
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-keyout", path("\(name)-key.pem"), "-out", path("\(name).pem"), "-subj", subject, "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
        ])
    }

    private struct ToolFailed: Error {}

    private func openssl(_ arguments: [String]) async throws {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/openssl")
        process.arguments = arguments
        process.standardError = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        let (ends, ended) = AsyncStream.makeStream(of: Void.self)
        process.terminationHandler = { _ in ended.finish() }
        try process.run()
        for await _ in ends {}
        guard process.terminationStatus == 0 else { throw ToolFailed() }
    }
}
