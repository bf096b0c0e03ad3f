import EtcdAPI
import SwiftProtobuf

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// A JSON body for one of the requests: what is accepted must come back the same after it was written and read again.
enum JSONTarget {
    static func feed(_ input: UnsafeRawBufferPointer) {
        guard let (type, _, body) = chooseType(input) else { return }
        read(type, body)
    }

    private static func read<Request: SwiftProtobuf.Message>(_ type: Request.Type, _ body: UnsafeRawBufferPointer) {
        guard let message = decode(type, Data(body)) else { return }
        guard let text = encode(message) else { preconditionFailure("\(message) was read but cannot be written") }
        guard let again = decode(type, text) else {
            preconditionFailure("written as \(String(decoding: text, as: UTF8.self)), which cannot be read")
        }
        precondition(again.isEqualTo(message: message), "\(again) came back for \(message)")
    }

    private static func decode<Request: SwiftProtobuf.Message>(_ type: Request.Type, _ body: Data) -> Request? {
        var options = JSONDecodingOptions()
        options.ignoreUnknownFields = true
        return try? Request(jsonUTF8Data: body, options: options)
    }

    private static func encode(_ message: some SwiftProtobuf.Message) -> Data? {
        var options = JSONEncodingOptions()
        options.preserveProtoFieldNames = true
        return try? message.jsonUTF8Data(options: options)
    }
}
