import Server
import Testing

/// What `HTTPSettings` do to plain HTTP.
@Suite(.timeLimit(.minutes(10))) struct HTTPSettingsTests {
    @Test func `without the gateway its paths are not found, and the other pages stay`() async throws {
        try await RunningServer.run({ $0.http.hasGateway = false }) { server in
            let range = try await http("POST", "/v3/kv/range", body: #"{"key":"YQ=="}"#, port: server.port)
            #expect(range.hasPrefix("HTTP/1.1 404 "))
            #expect(range.hasSuffix("404 page not found\n"))
            let health = try await httpGet("/health", port: server.port)
            #expect(health.hasPrefix("HTTP/1.1 200 "))
        }
    }

    @Test func `only a page of an allowed origin is told that it may read the answer`() async throws {
        try await RunningServer.run({ $0.http.allowedOrigins = ["https://a.example", "https://b.example"] }) { server in
            func allowed(_ origin: String) async throws -> String? {
                let answer = try await http(
                    "OPTIONS", "/v3/kv/range", headers: "Host: x\r\nOrigin: \(origin)\r\n", port: server.port)
                #expect(answer.hasPrefix("HTTP/1.1 200 "))
                let line = answer.split(separator: "\r\n").first { $0.hasPrefix("Access-Control-Allow-Origin: ") }
                return line.map { String($0.dropFirst("Access-Control-Allow-Origin: ".count)) }
            }
            let first = try await allowed("https://a.example")
            #expect(first == "https://a.example")
            let second = try await allowed("https://b.example")
            #expect(second == "https://b.example")
            let stranger = try await allowed("https://c.example")
            #expect(stranger == nil)
        }
    }

    @Test func `without TLS only the names on the list are answered`() async throws {
        try await RunningServer.run({ $0.http.hostWhitelist = ["berth.example", "::1"] }) { server in
            for (host, expected) in [
                ("berth.example", "200"), ("berth.example:2379", "200"), ("[::1]:2379", "200"),
                ("other.example", "421"), ("berth.example.evil", "421"),
            ] {
                let answer = try await http("GET", "/health", headers: "Host: \(host)\r\n", port: server.port)
                #expect(answer.hasPrefix("HTTP/1.1 \(expected) "), "\(host)")
            }
        }
    }
}
