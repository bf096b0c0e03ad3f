public import FoundationEssentials
import SwiftProtobuf

/// The descriptions of every file under `protos/`: what gRPC reflection answers from.
///
/// Decoded once, at the first question.
public struct ProtoDescriptors: Sendable {
    /// One file.
    public struct File: Sendable {
        /// Path as imports give it.
        public let name: String
        /// Paths of the files it imports.
        public let dependencies: [String]
        /// The encoded `google.protobuf.FileDescriptorProto`.
        public let encoded: Data
        /// Full names of its services.
        public let services: [String]
    }

    /// The files of this build.
    public static let all = ProtoDescriptors()

    /// Files by path.
    private var files: [String: File] = [:]
    /// Path of the file that declares a symbol, by its full name.
    private var symbols: [String: String] = [:]
    /// Full names of messages.
    private var messages: Set<String> = []

    /// The file with this path.
    public func file(named name: String) -> File? { files[name] }

    /// The file that declares a package's service, method, message, field, oneof, enumeration or enumeration's value.
    public func file(declaring symbol: String) -> File? {
        symbols[symbol].flatMap { files[$0] }
    }

    /// Whether there is a message of this full name. None of them has extensions: they are all of proto3.
    public func hasMessage(_ name: String) -> Bool { messages.contains(name) }

    /// Full names of all services described, in order.
    public var services: [String] { files.values.flatMap(\.services).sorted() }

    private init() {
        // Made by protoc and held by a test: what cannot be read would be a fault of the build, and is no file then.
        guard let bytes = Data(base64Encoded: Self.encodedSet),
            let set = try? Google_Protobuf_FileDescriptorSet(serializedBytes: bytes)
        else { return }
        for file in set.file {
            guard let encoded: Data = try? file.serializedData() else { continue }
            let package = file.package
            files[file.name] = File(
                name: file.name, dependencies: file.dependency, encoded: encoded,
                services: file.service.map { "\(package).\($0.name)" })
            for service in file.service {
                declare("\(package).\(service.name)", in: file.name)
                for method in service.method { declare("\(package).\(service.name).\(method.name)", in: file.name) }
            }
            for message in file.messageType { declare(message, within: package, in: file.name) }
            for values in file.enumType { declare(values, within: package, in: file.name) }
        }
    }

    private mutating func declare(_ symbol: String, in file: String) { symbols[symbol] = file }

    private mutating func declare(_ message: Google_Protobuf_DescriptorProto, within scope: String, in file: String) {
        let name = "\(scope).\(message.name)"
        declare(name, in: file)
        messages.insert(name)
        for field in message.field { declare("\(name).\(field.name)", in: file) }
        for oneof in message.oneofDecl { declare("\(name).\(oneof.name)", in: file) }
        for nested in message.nestedType { declare(nested, within: name, in: file) }
        for values in message.enumType { declare(values, within: name, in: file) }
    }

    /// An enumeration's values stand beside it, as in C.
    private mutating func declare(_ values: Google_Protobuf_EnumDescriptorProto, within scope: String, in file: String)
    {
        declare("\(scope).\(values.name)", in: file)
        for value in values.value { declare("\(scope).\(value.name)", in: file) }
    }
}
