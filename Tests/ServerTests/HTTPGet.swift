import NIOCore
import NIOPosix

/// A whole HTTP/1.1 response as text.
func httpGet(_ path: String, port: Int) async throws -> String { try await http("GET", path, port: port) }

/// A whole HTTP/1.1 response as text.
func http(
    _ method: String, _ path: String, headers: String = "Host: x\r\n", body: String = "", port: Int
) async throws -> String {
    let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .connect(host: "127.0.0.1", port: port) { channel in
            channel.eventLoop.makeCompletedFuture {
                try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
            }
        }
    return try await channel.executeThenClose { inbound, outbound in
        try await outbound.write(
            ByteBuffer(
                string: "\(method) \(path) HTTP/1.1\r\n\(headers)Content-Length: \(body.utf8.count)\r\n"
                    + "Connection: close\r\n\r\n\(body)"))
        var response = ""
        for try await part in inbound { response += String(buffer: part) }
        return response
    }
}
