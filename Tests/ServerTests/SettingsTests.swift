import Server
import Testing

@Test(arguments: [
    ("http://127.0.0.1:2379", "127.0.0.1", 2379), ("http://[::1]:1", "::1", 1), ("http://localhost:0/", "localhost", 0),
    ("https://[::1]:1", "::1", 1), ("https://localhost:0/", "localhost", 0),
])
func `a client URL is read and written back`(text: String, host: String, port: Int) throws {
    let url = try ClientURL(parsing: text)
    #expect(url == ClientURL(host: host, port: port, isSecure: text.hasPrefix("https")))
    #expect(try ClientURL(parsing: url.description) == url)
}

@Test(arguments: [
    "127.0.0.1:2379", "unix://127.0.0.1:2379", "http://127.0.0.1", "https://127.0.0.1",
    "http://:2379", "http://127.0.0.1:65536",
    "http://127.0.0.1:x", "http://::1:2379", "http://[::1]", "http://a/b:1", "",
])
func `a bad client URL is refused with what was expected`(text: String) {
    #expect {
        try ClientURL(parsing: text)
    } throws: { error in
        "\(error)".contains("expected http://HOST:PORT")
    }
}

private func settings(
    name: String = "n", directory: String = "d", listen: [ClientURL] = [ClientURL(host: "h", port: 1)],
    advertise: [ClientURL]? = nil, quota: Int64 = 0, request: Int = 1, ops: Int = 1
) throws -> ServerSettings {
    try ServerSettings(
        name: name, dataDirectory: directory, listenClientURLs: listen, advertiseClientURLs: advertise,
        quotaBackendBytes: quota, maxRequestBytes: request, maxTxnOps: ops)
}

@Test func `every setting that cannot be used is refused by its name`() {
    func isRefused(naming setting: String, _ make: @autoclosure () throws -> ServerSettings) -> Bool {
        do {
            _ = try make()
            return false
        } catch {
            return "\(error)".contains(setting)
        }
    }
    #expect(isRefused(naming: "--name", try settings(name: "")))
    #expect(isRefused(naming: "--data-dir", try settings(directory: "")))
    #expect(isRefused(naming: "--listen-client-urls", try settings(listen: [])))
    #expect(isRefused(naming: "--advertise-client-urls", try settings(advertise: [])))
    #expect(isRefused(naming: "--max-request-bytes", try settings(request: 0)))
    #expect(isRefused(naming: "--max-txn-ops", try settings(ops: 0)))
}

@Test func `what is not given is decided by what the server binds, and etcd's quota`() throws {
    let listen = [ClientURL(host: "h", port: 9)]
    let made = try settings(listen: listen)
    #expect(made.advertiseClientURLs == nil)
    #expect(made.quotaBackendBytes == ServerSettings.defaultQuotaBackendBytes)
    #expect(try settings(quota: -1).quotaBackendBytes == -1)
}
