import EtcdAPI
import Gateway
import SwiftProtobuf

/// A JSON body for one of the requests: what the gateway's reader accepts must be a message for SwiftProtobuf too, and
/// what its writer makes of that must be read as the same message by both.
enum JSONTarget {
    static func feed(_ input: UnsafeRawBufferPointer) {
        guard let (type, _, body) = chooseType(input) else { return }
        read(type, body)
    }

    private static func read<Request: SwiftProtobuf.Message>(_ type: Request.Type, _ text: UnsafeRawBufferPointer) {
        guard let bytes = try? JSONCodec.decode(text, type: Request.protoMessageName) else { return }
        guard let message = try? Request(serializedBytes: bytes) else {
            preconditionFailure("read as \(bytes), which is no \(Request.protoMessageName)")
        }
        write(message)
    }

    /// Also for messages that did not come by JSON.
    static func write<Request: SwiftProtobuf.Message>(_ message: Request) {
        guard let bytes: [UInt8] = try? message.serializedBytes(),
            let text = bytes.withUnsafeBytes({ try? JSONCodec.encode($0, type: Request.protoMessageName) })
        else { preconditionFailure("no JSON for \(message)") }
        if message is Etcdserverpb_TxnRequest {
            bytes.withUnsafeBytes { bytes in (try? TxnRequestView(bytes)).map(FuzzServices.stumble(over:)) }
        }
        guard let ours = text.withUnsafeBytes({ try? JSONCodec.decode($0, type: Request.protoMessageName) }) else {
            preconditionFailure("written and not read again: \(String(decoding: text, as: UTF8.self))")
        }
        precondition(
            (try? Request(serializedBytes: ours))?.isEqualTo(message: message) == true,
            "another message after \(String(decoding: text, as: UTF8.self))")
        let theirs = try? Request(jsonUTF8Bytes: text)
        precondition(
            theirs?.isEqualTo(message: message) == true,
            "SwiftProtobuf reads \(String(describing: theirs)) in \(String(decoding: text, as: UTF8.self))")
    }
}
