import FoundationEssentials
import GRPCTransport
import Server
import Testing

@Test(arguments: [
    ("db.example.org", "db.example.org", true), ("DB.Example.org.", "db.example.org", true),
    ("*.example.org", "db.example.org", true), ("*.example.org", "example.org", false),
    ("*.example.org", "a.db.example.org", false), ("*", "org", false), ("d*.example.org", "db.example.org", false),
    ("*.example.org", ".example.org", false), ("", "", false), ("10.0.0.1", "10.0.0.1", false),
])
func `a name in a certificate stands for a host, and its star for one label`(
    pattern: String, host: String, matches: Bool
) {
    #expect(ClientCertificateRules.matches(pattern: pattern, host) == matches)
}

@Suite struct RevocationListTests {
    /// Made by `openssl ca -gencrl`, version 2, with serials 4096 and 4098 revoked.
    private static let pem = """
        -----BEGIN X509 CRL-----
        MIHRMHgCAQEwCgYIKoZIzj0EAwIwDTELMAkGA1UEAwwCY2EXDTI2MTEyMzA4MDMz
        NVoXDTI2MTIyMzA4MDMzNVowKjATAgIQABcNMjYxMTIzMDgwMzM1WjATAgIQAhcN
        MjYxMTIzMDgwMzM1WqAOMAwwCgYDVR0UBAMCAQIwCgYIKoZIzj0EAwIDSQAwRgIh
        AIHFdJxjplOE/eyjUZtrthvdpyL3mPL2KfmO1UyQsGbVAiEArZWif6F6KPmaZbb7
        oiIMuBa6Ih5e0b9tAy1TGaNtOpg=
        -----END X509 CRL-----
        """
    /// The same authority's list before anything was revoked.
    private static let empty = """
        -----BEGIN X509 CRL-----
        MIGkMEwCAQEwCgYIKoZIzj0EAwIwDTELMAkGA1UEAwwCY2EXDTI2MTEyMzA4MDMz
        NVoXDTI2MTIyMzA4MDMzNVqgDjAMMAoGA1UdFAQDAgEBMAoGCCqGSM49BAMCA0gA
        MEUCIQDiA/DvJ6MVRzmm1TQmR1GUHGLQMXcDSbOZxkBA8hEC9AIgXi08vMffZBr4
        hwAwjmeqpNaSGU9Td1NaWcu9VwA2jZw=
        -----END X509 CRL-----
        """

    private static func der(_ pem: String) throws -> [UInt8] {
        let lines = pem.split(separator: "\n").filter { !$0.hasPrefix("-----") }
        return Array(try #require(Data(base64Encoded: lines.joined())))
    }

    @Test func `a list is read in PEM and in DER, and several in one file`() throws {
        for bytes in [Array(Self.pem.utf8), try Self.der(Self.pem), Array("\(Self.empty)\n\(Self.pem)\n".utf8)] {
            let list = try RevocationList(bytes)
            #expect(list.count == 2)
            #expect(list.contains([0x10, 0x00]) && list.contains([0x00, 0x10, 0x02]))
            #expect(!list.contains([0x10, 0x01]) && !list.contains([]))
        }
        let empty = try RevocationList(Array(Self.empty.utf8))
        #expect(empty.count == 0)
    }

    @Test func `no damage to a list crashes or is taken for a shorter list`() throws {
        let whole = try Self.der(Self.pem)
        for length in 0..<whole.count {
            #expect(throws: (any Error).self) { try RevocationList(Array(whole[..<length])) }
        }
        for position in whole.indices {
            for bit in 0..<8 {
                var damaged = whole
                damaged[position] ^= 1 << bit
                _ = try? RevocationList(damaged)  // The signature would tell, which is not looked at.
            }
        }
        for text in [
            "", "no list", "-----BEGIN X509 CRL-----\n", "-----BEGIN X509 CRL-----\n!\n-----END X509 CRL-----",
        ] {
            #expect(throws: (any Error).self) { try RevocationList(Array(text.utf8)) }
        }
    }
}

@Suite struct HostWhitelistTests {
    private func isRefused(_ host: String?, _ hosts: [String]) -> Bool {
        let refusal = HostWhitelist(hosts).refusal(of: HTTPHead(method: "GET", target: "/", host: host ?? ""))
        #expect(refusal == nil || refusal?.status == 421)
        return refusal != nil
    }

    @Test func `hosts are known without their port, and a missing one is none of them`() {
        for host in ["a", "a:1", "[::1]:2379"] { #expect(!isRefused(host, ["a", "::1"])) }
        for host in ["b", "a.b", "A", "", "[::2]:1", nil] { #expect(isRefused(host, ["a", "::1"])) }
    }

    @Test func `a star, or nothing, lets any in`() {
        for hosts in [["*"], [], ["a", "*"]] { #expect(!isRefused("b", hosts) && !isRefused(nil, hosts)) }
    }
}

@Suite struct HandshakeCountTests {
    @Test func `the bound holds, and what ended makes room`() {
        let count = HandshakeCount(limit: 2)
        #expect(count.begin() && count.begin() && !count.begin())
        #expect(count.underWay == 2)
        count.end()
        #expect(count.begin() && !count.begin())
    }
}

@Suite struct ListenPlanTests {
    private func settings(_ change: (inout ServerSettings) -> Void) throws -> ServerSettings {
        var settings = try ServerSettings(
            name: "n", dataDirectory: "d", listenClientURLs: [ClientURL(host: "127.0.0.1", port: 1)],
            advertiseClientURLs: nil, quotaBackendBytes: 0, maxRequestBytes: 1, maxTxnOps: 1)
        change(&settings)
        return settings
    }

    private func refusal(_ change: (inout ServerSettings) -> Void) throws -> String {
        do {
            _ = try ListenPlan(try settings(change))
            return ""
        } catch {
            return "\(error)"
        }
    }

    @Test func `addresses that exclude each other are refused by the names of their settings`() throws {
        let tls = TLSSettings(certFile: "c", keyFile: "k")
        let shared = try refusal {
            $0.tls = tls
            $0.listenClientURLs.append(ClientURL(host: "0.0.0.0", port: 1, isSecure: true))
        }
        #expect(shared.contains("--listen-client-urls") && shared.contains("share a port"))
        let twice = try refusal { $0.http.listenMetricsURLs = [ClientURL(host: "localhost", port: 1)] }
        #expect(twice.contains("--listen-client-urls and --listen-metrics-urls") && twice.contains("same address"))
        let bare = try refusal { $0.http.listenClientHTTPURLs = [ClientURL(host: "a", port: 2, isSecure: true)] }
        #expect(bare.contains("--listen-client-http-urls") && bare.contains("--cert-file"))
        let several = try refusal {
            $0.tls = tls
            $0.listenClientURLs = ["a", "b"].map { ClientURL(host: $0, port: 1, isSecure: $0 == "a") }
            $0.listenClientURLs += [ClientURL(host: "a", port: 0), ClientURL(host: "a", port: 0, isSecure: true)]
        }
        #expect(several.isEmpty, "other hosts, and ports the system chooses, do not collide")
        let loopbacks = try refusal { $0.listenClientURLs.append(ClientURL(host: "::1", port: 1)) }
        #expect(loopbacks.isEmpty, "IPv4's loopback and IPv6's are two sockets")
    }

    @Test func `HTTP with addresses of its own leaves gRPC alone to the client addresses`() throws {
        let plan = try ListenPlan(try settings { $0.http.listenClientHTTPURLs = [ClientURL(host: "a", port: 2)] })
        #expect(plan.listeners.map(\.service) == [.grpc, .http])
        let usual = try ListenPlan(try settings { _ in })
        #expect(usual.listeners.map(\.service) == [.clients])
    }

    @Test func `certificates that nobody gets to see are warned of`() throws {
        let plan = try ListenPlan(try settings { $0.tls = TLSSettings(certFile: "c", keyFile: "k") })
        #expect(plan.warnings.count == 1 && plan.warnings[0].contains("--cert-file"))
    }
}

@Suite struct SettingRuleTests {
    private func refusal(_ change: (inout TLSSettings) -> Void) -> String {
        var settings = TLSSettings(certFile: "c", keyFile: "k")
        change(&settings)
        do throws(SettingsError) {
            try settings.check()
            return ""
        } catch {
            return error.description
        }
    }

    @Test func `settings that contradict each other are refused by name`() {
        #expect(refusal { _ in }.isEmpty)
        #expect(refusal { $0.certFile = "" }.contains("--cert-file"))
        #expect(refusal { $0.keyFile = "" }.contains("--key-file"))
        #expect(refusal { $0.requiresClientCertificate = true }.contains("--client-cert-auth"))
        #expect(refusal { $0.revocationFile = "r" }.contains("--client-crl-file"))
        #expect(refusal { $0.allowedHostnames = ["h"] }.contains("--client-cert-allowed-hostname"))
        let both = refusal {
            $0.trustedCAFile = "t"
            $0.requiresClientCertificate = true
            $0.acceptsClientsWithoutCertificate = true
        }
        #expect(both.contains("--client-cert-optional"))
        #expect(refusal { $0.minimumVersion = "TLS1.0" }.contains("--tls-min-version"))
        #expect(refusal { $0.maximumVersion = "1.3" }.contains("--tls-max-version"))
        #expect(refusal { $0.cipherSuites = ["TLS_NULL"] }.contains("TLS_NULL"))
        let fixed = refusal {
            $0.minimumVersion = "TLS1.3"
            $0.cipherSuites = ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]
        }
        #expect(fixed.contains("--cipher-suites") && fixed.contains("--tls-min-version"))
    }

    @Test func `times and counts of connections are checked`() {
        func refusal(_ change: (inout ConnectionSettings) -> Void) -> String {
            var settings = ConnectionSettings()
            change(&settings)
            do throws(SettingsError) {
                try settings.check()
                return ""
            } catch {
                return error.description
            }
        }
        #expect(refusal { _ in }.isEmpty)
        #expect(refusal { $0.maxConcurrentStreams = Int(UInt32.max) }.isEmpty)
        #expect(refusal { $0.maxConcurrentStreams = 0 }.contains("--max-concurrent-streams"))
        #expect(refusal { $0.keepaliveMinTime = .seconds(-1) }.contains("--grpc-keepalive-min-time"))
        #expect(refusal { $0.keepaliveInterval = .seconds(1 << 40) }.contains("--grpc-keepalive-interval"))
        #expect(refusal { $0.keepaliveTimeout = .seconds(-1) }.contains("--grpc-keepalive-timeout"))
        #expect(refusal { $0.keepaliveInterval = .zero }.isEmpty)
    }
}
