import Berth
import Foundation
import Testing

/// TLS and users, against a real etcd: it checks what this library says.
@Suite(.timeLimit(.minutes(10))) struct SecureTests {
    private struct ToolFailed: Error {}

    private func run(_ arguments: [String], in folder: URL) async throws {
        let path = "/usr/bin/openssl"
        try InstalledTool.check(path)
        let process = Process()
        process.executableURL = URL(filePath: path)
        process.arguments = arguments
        process.currentDirectoryURL = folder
        process.standardError = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        let (ends, ended) = AsyncStream.makeStream(of: Void.self)
        process.terminationHandler = { _ in ended.finish() }
        try process.run()
        for await _ in ends {}
        guard process.terminationStatus == 0 else { throw ToolFailed() }
    }

    /// A folder with a self-made certificate.
    private func withCertificate(
        names: String = "DNS:localhost,IP:127.0.0.1", _ body: (_ folder: String) async throws -> Void
    ) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "berth-tls-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try await run(
            [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                "-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=localhost", "-addext",
                "subjectAltName=\(names)",
            ], in: folder)
        try await body(folder.path)
    }

    @Test func `TLS works by name and by address, with a client certificate too`() async throws {
        try await withCertificate { folder in
            let files = ["--cert-file", "\(folder)/cert.pem", "--key-file", "\(folder)/key.pem"]
            let client = ["--client-cert-auth", "--trusted-ca-file", "\(folder)/cert.pem"]
            try await EtcdProcess.run(files + client, scheme: "https") { port in
                for host in ["localhost", "127.0.0.1"] {
                    var configuration = BerthConfiguration.patient(["https://\(host):\(port)"])
                    configuration.tls = .init(authoritiesFile: "\(folder)/cert.pem")
                    configuration.tls?.certificateFile = "\(folder)/cert.pem"
                    configuration.tls?.keyFile = "\(folder)/key.pem"
                    try await BerthClient.with(configuration) { client in
                        try await client.withLock("job", for: .seconds(600)) { try await $0.put("\(host)") }
                        #expect(try await client.kv.get("job")?.value == Bytes(host))
                    }
                }
            }
        }
    }

    @Test func `a server that is not to be trusted is named as such`() async throws {
        try await withCertificate(names: "DNS:localhost") { folder in
            let files = ["--cert-file", "\(folder)/cert.pem", "--key-file", "\(folder)/key.pem"]
            try await EtcdProcess.run(files, scheme: "https") { port in
                var configuration = BerthConfiguration.patient(["https://localhost:\(port)"])
                try await expectUnreachable(configuration, saying: "certificate is not trusted")
                configuration.tls = .init(authoritiesFile: "\(folder)/cert.pem")
                configuration.tls?.serverName = "elsewhere.example"
                try await expectUnreachable(configuration, saying: "another name")
                configuration.endpoints = ["http://localhost:\(port)"]
                try await expectUnreachable(configuration, saying: "")
                configuration.endpoints = ["https://localhost:\(port)"]
                configuration.tls?.serverName = nil
                try await BerthClient.with(configuration) { try await $0.kv.put("a", "1") }
            }
        }
    }

    /// The server was not spoken with for the reason `text`. The error comes when the request's time is over: a machine
    /// that had not met the server by then gets more of it.
    private func expectUnreachable(_ configuration: BerthConfiguration, saying text: String) async throws {
        var configuration = configuration
        configuration.requestTimeout = .seconds(1)
        while true {
            let why = try await BerthClient.with(configuration) { client -> String? in
                do throws(BerthError) {
                    try await client.kv.put("a", "1")
                } catch .unreachable(let why) {
                    return why
                }
                return nil
            }
            guard let why else {
                Issue.record("an untrusted server was spoken with, instead of saying \(text)")
                return
            }
            let isTooEarly =
                !text.isEmpty && why.hasSuffix("no connection in time") && configuration.requestTimeout < .seconds(60)
            guard isTooEarly else {
                #expect(text.isEmpty || why.contains(text), "\(why)")
                return
            }
            configuration.requestTimeout *= 4
        }
    }

    @Test func `users are known by their token, which is renewed when the server forgets it`() async throws {
        try await EtcdProcess.run { port in
            let open = BerthConfiguration.patient(["127.0.0.1:\(port)"])
            let users = EtcdUsers(port: port)
            try await users.enable(user: "worker", password: "secret", prefix: "jobs/")
            await #expect(throws: BerthError.unauthenticated("the servers ask for a user name and password")) {
                try await BerthClient.with(open) { try await $0.kv.put("jobs/a", "1") }
            }
            var wrong = open
            wrong.credentials = .init(user: "worker", password: "wrong")
            await #expect(throws: BerthError.unauthenticated("user name or password is wrong")) {
                try await BerthClient.with(wrong) { try await $0.kv.put("jobs/a", "1") }
            }
            var right = open
            right.credentials = .init(user: "worker", password: "secret")
            try await BerthClient.with(right) { client in
                let revision = try await client.kv.put("jobs/a", "1").revision
                await #expect(throws: BerthError.self) { try await client.kv.put("other", "1") }
                try await client.withLock("jobs/lock", for: .seconds(600)) { try await $0.put("held") }
                try await users.forgetTokens()
                try await client.kv.put("jobs/a", "2")
                try await users.forgetTokens()
                for try await batch in client.watch("jobs/a", from: revision) {
                    #expect(batch.events.first?.value == "1")
                    break
                }
            }
        }
    }
}
