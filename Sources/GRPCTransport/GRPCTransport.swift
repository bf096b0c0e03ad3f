/// gRPC over HTTP/2 on SwiftNIO sockets, framed by libnghttp2. This module owns connections, streams, flow control,
/// deadlines and the rules that keep a misbehaving peer from hurting the others. It must never know what a message
/// means: messages are bytes, methods are paths, and no type of the store or of its API appears here.
///
/// Every connection is one channel handler around one nghttp2 session; a stream is a plain object, never a child
/// channel. Everything happens on the connection's event loop. `GRPCServer` and `GRPCClient` are the two ways in.
public enum GRPCTransport {
    /// The content type that marks a gRPC request or response.
    public static let contentType = "application/grpc"
}
