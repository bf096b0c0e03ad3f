import ProtobufWire

// Responses as values, decoded by a reader of their own.

struct Header: Hashable {
    var clusterID: UInt64 = 0
    var memberID: UInt64 = 0
    var revision: Int64 = 0
    var term: UInt64 = 0
}

struct KV: Hashable, CustomStringConvertible {
    var key: Bytes = []
    var create: Int64 = 0
    var mod: Int64 = 0
    var version: Int64 = 0
    var value: Bytes = []
    var lease: Int64 = 0

    var description: String {
        let (key, value) = (String(decoding: key, as: UTF8.self), String(decoding: value, as: UTF8.self))
        return "\(key)=\(value) create \(create) mod \(mod) version \(version) lease \(lease)"
    }
}

struct PutReply: Hashable {
    var header: Header?
    var previous: KV?
}

struct RangeReply: Hashable {
    var header: Header?
    var kvs: [KV] = []
    var more = false
    var count: Int64 = 0

    var keys: [String] { kvs.map { String(decoding: $0.key, as: UTF8.self) } }
}

struct DeleteReply: Hashable {
    var header: Header?
    var deleted: Int64 = 0
    var previous: [KV] = []
}

struct TxnReply: Hashable {
    var header: Header?
    var succeeded = false
    var responses: [OperationReply] = []
}

enum OperationReply: Hashable {
    case range(RangeReply)
    case put(PutReply)
    case delete(DeleteReply)
    indirect case txn(TxnReply)
}

/// A response whose fields after the header are numbers.
struct NumbersReply: Hashable {
    var header: Header?
    var numbers: [Int: Int64] = [:]
}

struct AlarmReply: Hashable {
    var header: Header?
    /// Member and kind of each.
    var alarms: [[Int: Int64]] = []
}

struct UnexpectedField: Error {
    let number: Int
}

/// Visits a message's fields.
func forEachField(
    _ message: UnsafeRawBufferPointer, _ visit: (inout WireReader, (field: Int, type: WireType)) throws -> Void
) throws {
    var reader = WireReader(message)
    while let field = try reader.nextField() { try visit(&reader, field) }
}

extension Header {
    init(_ message: UnsafeRawBufferPointer) throws {
        try forEachField(message) { reader, field in
            switch field.field {
            case 1: clusterID = try reader.varint(of: field)
            case 2: memberID = try reader.varint(of: field)
            case 3: revision = try reader.int64(of: field)
            case 4: term = try reader.varint(of: field)
            default: throw UnexpectedField(number: field.field)
            }
        }
    }
}

extension KV {
    init(_ message: UnsafeRawBufferPointer) throws {
        try forEachField(message) { reader, field in
            switch field.field {
            case 1: key = Array(try reader.bytes(of: field))
            case 2: create = try reader.int64(of: field)
            case 3: mod = try reader.int64(of: field)
            case 4: version = try reader.int64(of: field)
            case 5: value = Array(try reader.bytes(of: field))
            case 6: lease = try reader.int64(of: field)
            default: throw UnexpectedField(number: field.field)
            }
        }
    }
}

extension PutReply {
    init(_ message: UnsafeRawBufferPointer) throws {
        try forEachField(message) { reader, field in
            switch field.field {
            case 1: header = try Header(reader.bytes(of: field))
            case 2: previous = try KV(reader.bytes(of: field))
            default: throw UnexpectedField(number: field.field)
            }
        }
    }
}

extension RangeReply {
    init(_ message: UnsafeRawBufferPointer) throws {
        try forEachField(message) { reader, field in
            switch field.field {
            case 1: header = try Header(reader.bytes(of: field))
            case 2: kvs.append(try KV(reader.bytes(of: field)))
            case 3: more = try reader.bool(of: field)
            case 4: count = try reader.int64(of: field)
            default: throw UnexpectedField(number: field.field)
            }
        }
    }
}

extension DeleteReply {
    init(_ message: UnsafeRawBufferPointer) throws {
        try forEachField(message) { reader, field in
            switch field.field {
            case 1: header = try Header(reader.bytes(of: field))
            case 2: deleted = try reader.int64(of: field)
            case 3: previous.append(try KV(reader.bytes(of: field)))
            default: throw UnexpectedField(number: field.field)
            }
        }
    }
}

extension TxnReply {
    init(_ message: UnsafeRawBufferPointer) throws {
        try forEachField(message) { reader, field in
            switch field.field {
            case 1: header = try Header(reader.bytes(of: field))
            case 2: succeeded = try reader.bool(of: field)
            case 3: responses.append(try OperationReply(reader.bytes(of: field)))
            default: throw UnexpectedField(number: field.field)
            }
        }
    }
}

extension OperationReply {
    init(_ message: UnsafeRawBufferPointer) throws {
        var reader = WireReader(message)
        guard let field = try reader.nextField() else { throw UnexpectedField(number: 0) }
        let body = try reader.bytes(of: field)
        switch field.field {
        case 1: self = .range(try RangeReply(body))
        case 2: self = .put(try PutReply(body))
        case 3: self = .delete(try DeleteReply(body))
        case 4: self = .txn(try TxnReply(body))
        default: throw UnexpectedField(number: field.field)
        }
    }
}

extension NumbersReply {
    init(_ message: UnsafeRawBufferPointer) throws {
        try forEachField(message) { reader, field in
            if field.field == 1 {
                header = try Header(reader.bytes(of: field))
            } else {
                numbers[field.field] = try reader.int64(of: field)
            }
        }
    }
}

extension AlarmReply {
    init(_ message: UnsafeRawBufferPointer) throws {
        try forEachField(message) { reader, field in
            switch field.field {
            case 1: header = try Header(reader.bytes(of: field))
            case 2:
                var alarm: [Int: Int64] = [:]
                try forEachField(try reader.bytes(of: field)) { reader, field in
                    alarm[field.field] = try reader.int64(of: field)
                }
                alarms.append(alarm)
            default: throw UnexpectedField(number: field.field)
            }
        }
    }
}
