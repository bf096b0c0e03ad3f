import Berth
import EtcdAPI
import GRPCTransport
import Logging
import NIOCore
import NIOPosix
import SwiftProtobuf
import Synchronization
import Testing

/// How the client deals with its token, by a server that refuses it at will.
@Suite(.timeLimit(.minutes(5))) struct TokenTests {
    /// What the server was asked for, and with what.
    private final class Record: Sendable {
        let tokensGiven = Mutex(0)
        let tokensSeen = Mutex<[String]>([])
    }

    /// Serves `Authenticate` and `Put`, which is refused with `refusal` until a token newer than the first comes.
    private func serve(
        refusing refusal: GRPCStatus, _ body: (_ port: Int, _ record: Record) async throws -> Void
    ) async throws {
        let record = Record()
        var services = ServiceTable()
        services.unary("/etcdserverpb.Auth/Authenticate") { call, _ in
            let number = record.tokensGiven.withLock { count in
                count += 1
                return count
            }
            let answer = Etcdserverpb_AuthenticateResponse.with { $0.token = "token-\(number)" }
            do { call.respond(try answer.serializedBytes()) } catch { call.fail(GRPCStatus(.internal, "\(error)")) }
        }
        services.unary("/etcdserverpb.KV/Put") { call, _ in
            let token = call.metadata("token") ?? "none"
            record.tokensSeen.withLock { $0.append(token) }
            if token == "token-1" { call.fail(refusal) } else { call.respond([]) }
        }
        let server = try await GRPCServer.bind(
            host: "127.0.0.1", port: 0, group: .singleton, services: services,
            http1: { $0.answer(.text(404, "not here\n")) },
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
        do {
            try await body(try #require(server.localAddress?.port), record)
        } catch {
            await server.shutdownGracefully(deadline: .now())
            throw error
        }
        await server.shutdownGracefully(deadline: .now())
    }

    @Test(arguments: [
        GRPCStatus(.unauthenticated, "etcdserver: invalid auth token"),
        GRPCStatus(.invalidArgument, "etcdserver: revision of auth store is old"),
    ])
    func `a token that is not good any more is replaced, and the call made again`(refusal: GRPCStatus) async throws {
        try await serve(refusing: refusal) { port, record in
            var configuration = BerthConfiguration.patient(["127.0.0.1:\(port)"])
            configuration.credentials = .init(user: "u", password: "p")
            try await BerthClient.with(configuration) { client in
                try await client.kv.put("a", "1")
                try await client.kv.put("a", "2")
            }
            #expect(record.tokensSeen.withLock { $0 } == ["token-1", "token-2", "token-2"])
            #expect(record.tokensGiven.withLock { $0 } == 2)
        }
    }

    @Test func `a refusal for another reason is told and no token is fetched for it`() async throws {
        try await serve(refusing: GRPCStatus(.permissionDenied, "etcdserver: permission denied")) { port, record in
            var configuration = BerthConfiguration.patient(["127.0.0.1:\(port)"])
            configuration.credentials = .init(user: "u", password: "p")
            await #expect(throws: BerthError.self) {
                try await BerthClient.with(configuration) { try await $0.kv.put("a", "1") }
            }
            #expect(record.tokensGiven.withLock { $0 } == 1)
        }
    }
}
