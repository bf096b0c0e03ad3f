import EtcdAPI
import Foundation
import GRPCTransport
import NIOCore
import Server
import SwiftProtobuf
import Testing

extension GRPCClient {
    /// Calls as whoever the token stands for.
    fileprivate func call<Response: Message>(
        _ method: String, _ request: some Message, _ type: Response.Type, token: String?
    ) async throws -> Response {
        let bytes: [UInt8] = try request.serializedBytes()
        let answer = try await eventLoop.flatSubmit {
            let promise = self.eventLoop.makePromise(of: [UInt8].self)
            var options = ClientCall.Options()
            if let token { options.metadata.append((name: "token", value: token)) }
            _ = self.unary("/etcdserverpb." + method, bytes, options: options) {
                promise.completeWith($0.mapError { $0 as any Error })
            }
            return promise.futureResult
        }.get()
        return try Response(serializedBytes: answer)
    }

    fileprivate func change(_ method: String, _ request: some Message, token: String? = nil) async throws {
        _ = try await call("Auth/" + method, request, Etcdserverpb_AuthEnableResponse.self, token: token)
    }

    fileprivate func login(_ name: String, _ password: String) async throws -> String {
        let request = Etcdserverpb_AuthenticateRequest.with {
            $0.name = name
            $0.password = password
        }
        return try await call("Auth/Authenticate", request, Etcdserverpb_AuthenticateResponse.self, token: nil).token
    }

    fileprivate func turnAuthOn() async throws {
        try await change(
            "UserAdd",
            Etcdserverpb_AuthUserAddRequest.with {
                $0.name = "root"
                $0.password = "secret"
            })
        try await change(
            "UserGrantRole",
            Etcdserverpb_AuthUserGrantRoleRequest.with {
                $0.user = "root"
                $0.role = "root"
            })
        try await change("AuthEnable", Etcdserverpb_AuthEnableRequest())
    }

    fileprivate func put(token: String?) async throws {
        let request = Etcdserverpb_PutRequest.with { $0.key = Data("k".utf8) }
        _ = try await call("KV/Put", request, Etcdserverpb_PutResponse.self, token: token)
    }
}

private func status(_ body: () async throws -> Void) async -> GRPCStatus {
    do {
        try await body()
        return .ok
    } catch let status as GRPCStatus {
        return status
    } catch {
        return GRPCStatus(.internal, "\(error)")
    }
}

@Suite struct AuthTests {
    @Test func `a method that nobody thought of is for root alone`() {
        #expect(AccessRule.rule(for: "/etcdserverpb.Cluster/MemberAdd") == .root)
        #expect(AccessRule.rule(for: "/etcdserverpb.Maintenance/MoveLeader") == .root)
        #expect(AccessRule.rule(for: "/berth.v1.Maintenance/Snapshot") == .root)
        #expect(AccessRule.rule(for: "/some.New/Thing") == .root)
        #expect(AccessRule.rule(for: "/etcdserverpb.KV/RangeStream") == .root)
        #expect(AccessRule.rule(for: "/etcdserverpb.Maintenance/Snapshot") == .rootUntranslated)
        #expect(AccessRule.rule(for: "/etcdserverpb.Cluster/MemberList") == .known)
        #expect(AccessRule.rule(for: "/grpc.health.v1.Health/Check") == .open)
        #expect(AccessRule.rule(for: "/berth.v1.Locks/Acquire") == .own)
    }

    @Test func `a signed token counts for its auth revision, and one that is changed for nothing`() async throws {
        let file = FileManager.default.temporaryDirectory.appending(path: "berth-secret-\(UUID().uuidString)")
        try Data("a secret that is shared with nobody at all".utf8).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        try await RunningServer.run {
            $0.auth.token = "jwt,sign-method=HS256,priv-key=\(file.path)"
            $0.auth.bcryptCost = 4
        } _: { server in
            let client = await server.client()
            try await client.turnAuthOn()
            let token = try await client.login("root", "secret")
            #expect(token.split(separator: ".").count == 3)
            try await client.put(token: token)
            try await client.put(token: "Bearer " + token)
            let invalid = GRPCStatus(.unauthenticated, "etcdserver: invalid auth token")
            #expect(await status { try await client.put(token: String(token.dropLast())) } == invalid)
            #expect(await status { try await client.put(token: "abcdefghijklmnop.4") } == invalid)
            // Any change of users ends it, for every method.
            func addRole(_ name: String, _ token: String) async throws {
                try await client.change(
                    "RoleAdd", Etcdserverpb_AuthRoleAddRequest.with { $0.name = name }, token: token)
            }
            try await addRole("r", token)
            let old = GRPCStatus(.invalidArgument, "etcdserver: revision of auth store is old")
            #expect(await status { try await client.put(token: token) } == old)
            #expect(await status { try await addRole("s", token) } == old)
            try await client.put(token: try await client.login("root", "secret"))
        }
    }

    @Test func `settings of authentication that cannot be used keep the server from starting`() async throws {
        for (token, reason) in [("jwt", "sign-method"), ("jwt,sign-method=HS256,priv-key=/nowhere", "cannot be read")] {
            do {
                try await RunningServer.run {
                    $0.auth.token = token
                } _: { _ in
                }
                Issue.record("\(token) was taken")
            } catch {
                #expect("\(error)".contains(reason), "\(error)")
            }
        }
        var settings = AuthSettings()
        settings.bcryptCost = 3
        #expect(throws: SettingsError.self) { try settings.check() }
        settings = AuthSettings()
        settings.tokenTTLSeconds = 0
        #expect(throws: SettingsError.self) { try settings.check() }
        try AuthSettings().check()
    }

    @Test func `an unknown user and one without a password cost the work that a wrong password does`() async throws {
        try await RunningServer.run {
            $0.auth.bcryptCost = 4
        } _: { server in
            let client = await server.client()
            try await client.turnAuthOn()
            func hashes() async throws -> Double? {
                let text = try await httpGet("/metrics", port: server.port)
                let body = try #require(text.range(of: "\r\n\r\n")).upperBound
                return try ParsedMetrics(String(text[body...]))["berth_password_hashes_total"]
            }
            // That of root, when it was added.
            var expected = 1.0
            #expect(try await hashes() == expected)
            let failed = GRPCStatus(
                .invalidArgument, "etcdserver: authentication failed, invalid user ID or password")
            for name in ["root", "nobody", "root", ""] {
                #expect(await status { _ = try await client.login(name, "wrong") } == failed)
                expected += 1
                #expect(try await hashes() == expected, "\(name)")
            }
        }
    }
}
