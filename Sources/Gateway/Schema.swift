import EtcdAPI
import SwiftProtobuf

/// What the service descriptions say of messages and methods, in the form the JSON codec walks: built once, from the
/// descriptors that protoc made of `protos/`.
///
/// Generated messages would do for most of it, but SwiftProtobuf's JSON takes bytes that are not etcd's base64, and an
/// enumeration's unknown name as nothing once unknown fields are let pass; neither can be told apart afterwards. With the
/// descriptors at hand, JSON and wire format turn into each other in one pass, with no message made in between.
public struct Schema: Sendable {
    /// One message type.
    struct MessageType: Sendable {
        var name: String
        /// In the order of declaration, which is that of the output.
        var fields: [Field] = []
        /// Positions in `fields` by number, for numbers below its count; -1 for none.
        var positions: [Int8] = []
        var isMapEntry = false

        func position(ofNumber number: Int) -> Int? {
            if number < positions.count { return positions[number] < 0 ? nil : Int(positions[number]) }
            return fields.firstIndex { $0.number == number }
        }

        /// The field of this name, in either spelling.
        func position(named name: UnsafeRawBufferPointer) -> Int? {
            for (position, field) in fields.enumerated() where field.isNamed(name) { return position }
            return nil
        }
    }

    struct Field: Sendable {
        let number: Int
        /// As written in the .proto file.
        let name: String
        let protoName: [UInt8]
        /// In lower camel case.
        let jsonName: [UInt8]
        let kind: Kind
        let isRepeated: Bool
        /// Position of its oneof; nil outside one. An `optional` field has one of its own.
        let oneof: Int?

        func isNamed(_ name: UnsafeRawBufferPointer) -> Bool {
            protoName.count == name.count && protoName.elementsEqual(name)
                || jsonName.count == name.count && jsonName.elementsEqual(name)
        }
    }

    enum Kind: Sendable, Hashable {
        case int32, int64, uint32, uint64, bool, string, bytes
        /// By position in `enums`.
        case enumeration(Int)
        /// By position in `messages`.
        case message(Int)
    }

    struct EnumType: Sendable {
        let name: String
        let values: [(name: [UInt8], number: Int32)]
    }

    /// What a method takes and gives.
    public struct Method: Sendable {
        /// Position of the request's type.
        let request: Int
        /// Position of the response's type.
        let response: Int
        /// The client sends any number of messages.
        public let streamsRequests: Bool
        /// The server does.
        public let streamsResponses: Bool
    }

    private(set) var messages: [MessageType] = []
    private(set) var enums: [EnumType] = []
    /// By path, `/package.Service/Method`.
    public private(set) var methods: [String: Method] = [:]
    private var messagePositions: [String: Int] = [:]
    private var enumPositions: [String: Int] = [:]

    /// The schema of this build.
    public static let current = Schema(ProtoDescriptors.all)

    /// Position of a message type by its full name.
    func message(_ name: String) -> Int? { messagePositions[name] }

    init(_ descriptors: ProtoDescriptors) {
        var files: [Google_Protobuf_FileDescriptorProto] = []
        var seen: Set<String> = []
        var pending = descriptors.services.compactMap { descriptors.file(declaring: $0) }
        while let file = pending.popLast() {
            guard seen.insert(file.name).inserted,
                let decoded = try? Google_Protobuf_FileDescriptorProto(serializedBytes: file.encoded)
            else { continue }
            files.append(decoded)
            pending += file.dependencies.compactMap { descriptors.file(named: $0) }
        }
        // Names first, as types refer to each other in any order.
        var found: [(name: String, message: Google_Protobuf_DescriptorProto)] = []
        for file in files {
            for type in file.enumType { add(type, within: file.package) }
            for type in file.messageType { collect(type, within: file.package, into: &found) }
        }
        for (position, type) in found.enumerated() { messagePositions[type.name] = position }
        messages = found.map { messageType($0.name, $0.message) }
        for file in files {
            for service in file.service {
                for method in service.method {
                    guard let request = messagePositions[String(method.inputType.dropFirst())],
                        let response = messagePositions[String(method.outputType.dropFirst())]
                    else { continue }
                    methods["/\(file.package).\(service.name)/\(method.name)"] = Method(
                        request: request, response: response, streamsRequests: method.clientStreaming,
                        streamsResponses: method.serverStreaming)
                }
            }
        }
    }

    private mutating func add(_ type: Google_Protobuf_EnumDescriptorProto, within scope: String) {
        let name = "\(scope).\(type.name)"
        enumPositions[name] = enums.count
        enums.append(EnumType(name: name, values: type.value.map { (Array($0.name.utf8), $0.number) }))
    }

    private mutating func collect(
        _ type: Google_Protobuf_DescriptorProto, within scope: String,
        into found: inout [(name: String, message: Google_Protobuf_DescriptorProto)]
    ) {
        let name = "\(scope).\(type.name)"
        found.append((name, type))
        for inner in type.enumType { add(inner, within: name) }
        for inner in type.nestedType { collect(inner, within: name, into: &found) }
    }

    private func messageType(_ name: String, _ type: Google_Protobuf_DescriptorProto) -> MessageType {
        var made = MessageType(name: name)
        made.isMapEntry = type.options.mapEntry
        for field in type.field {
            guard let kind = kind(of: field) else {
                preconditionFailure("\(name).\(field.name) is of a type the JSON codec does not know")
            }
            made.fields.append(
                Field(
                    number: Int(field.number), name: field.name, protoName: Array(field.name.utf8),
                    jsonName: Array(field.jsonName.utf8), kind: kind, isRepeated: field.label == .repeated,
                    oneof: field.hasOneofIndex ? Int(field.oneofIndex) : nil))
        }
        let highest = made.fields.map(\.number).max() ?? 0
        if highest < 128 {
            made.positions = [Int8](repeating: -1, count: highest + 1)
            for (position, field) in made.fields.enumerated() { made.positions[field.number] = Int8(position) }
        }
        return made
    }

    private func kind(of field: Google_Protobuf_FieldDescriptorProto) -> Kind? {
        switch field.type {
        case .int32: .int32
        case .int64: .int64
        case .uint32: .uint32
        case .uint64: .uint64
        case .bool: .bool
        case .string: .string
        case .bytes: .bytes
        case .enum: enumPositions[String(field.typeName.dropFirst())].map { .enumeration($0) }
        case .message: messagePositions[String(field.typeName.dropFirst())].map { .message($0) }
        default: nil
        }
    }
}
