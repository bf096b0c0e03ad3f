import Berth
import EtcdAPI
import FoundationEssentials
import GRPCTransport
import NIOCore
import NIOPosix
import SwiftProtobuf

/// Sets users up, which this library does not.
struct EtcdUsers {
    let port: Int

    private func client() -> GRPCClient {
        var configuration = ClientConfiguration()
        configuration.connectTimeout = .seconds(60)
        return GRPCClient(
            host: "127.0.0.1", port: port, eventLoop: MultiThreadedEventLoopGroup.singleton.next(),
            configuration: configuration)
    }

    /// Turns authentication off and on again: the server knows no token any more.
    func forgetTokens() async throws {
        let client = client()
        let request = Etcdserverpb_AuthenticateRequest.with {
            $0.name = "root"
            $0.password = "root"
        }
        let answer = try await client.call("/etcdserverpb.Auth/Authenticate", request.serializedBytes())
        var options = ClientCall.Options()
        options.metadata.append(("token", try Etcdserverpb_AuthenticateResponse(serializedBytes: answer).token))
        _ = try await client.call("/etcdserverpb.Auth/AuthDisable", [], options: options)
        _ = try await client.call("/etcdserverpb.Auth/AuthEnable", [])
        await client.close()
    }

    /// Turns authentication on, with a root user and one who may read and write the keys with a prefix.
    func enable(user: String, password: String, prefix: String) async throws {
        let client = client()
        func call(_ method: String, _ request: some Message) async throws {
            let bytes: [UInt8] = try request.serializedBytes()
            _ = try await client.call("/etcdserverpb.Auth/\(method)", bytes)
        }
        try await call(
            "UserAdd",
            Etcdserverpb_AuthUserAddRequest.with {
                $0.name = "root"
                $0.password = "root"
            })
        try await call(
            "UserGrantRole",
            Etcdserverpb_AuthUserGrantRoleRequest.with {
                $0.user = "root"
                $0.role = "root"
            })
        try await call(
            "UserAdd",
            Etcdserverpb_AuthUserAddRequest.with {
                $0.name = user
                $0.password = password
            })
        try await call("RoleAdd", Etcdserverpb_AuthRoleAddRequest.with { $0.name = user })
        let range = KeyRange.prefix(Bytes(prefix))
        try await call(
            "RoleGrantPermission",
            Etcdserverpb_AuthRoleGrantPermissionRequest.with {
                $0.name = user
                $0.perm.permType = .readwrite
                $0.perm.key = Data(range.key.array)
                $0.perm.rangeEnd = Data(range.end.array)
            })
        try await call(
            "UserGrantRole",
            Etcdserverpb_AuthUserGrantRoleRequest.with {
                $0.user = user
                $0.role = user
            })
        try await call("AuthEnable", Etcdserverpb_AuthEnableRequest())
        await client.close()
    }
}
