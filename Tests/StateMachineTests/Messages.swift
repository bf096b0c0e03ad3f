import EtcdAPI
import ProtobufWire
import Vocabulary

// Requests as values, with an encoder that shares nothing with the code under test but the wire format.

typealias Bytes = [UInt8]

func utf8(_ text: String) -> Bytes { Array(text.utf8) }

struct PutMessage {
    var key: Bytes
    var value: Bytes = []
    var lease: Int64 = 0
    var prevKV = false
    var ignoreValue = false
    var ignoreLease = false

    init(_ key: Bytes, _ value: Bytes = [], lease: Int64 = 0) {
        self.key = key
        self.value = value
        self.lease = lease
    }

    init(_ key: String, _ value: String = "", lease: Int64 = 0) { self.init(utf8(key), utf8(value), lease: lease) }

    func with(_ change: (inout Self) -> Void) -> Self {
        var copy = self
        change(&copy)
        return copy
    }

    var encoded: Bytes {
        var writer = WireWriter()
        writer.bytesField(1, key)
        writer.bytesField(2, value)
        writer.int64Field(3, lease)
        writer.boolField(4, prevKV)
        writer.boolField(5, ignoreValue)
        writer.boolField(6, ignoreLease)
        return writer.bytes
    }
}

struct RangeMessage {
    var key: Bytes
    var end: Bytes = []
    var limit: Int64 = 0
    var revision: Int64 = 0
    var sortOrder: Int64 = 0
    var sortTarget: Int64 = 0
    var serializable = false
    var keysOnly = false
    var countOnly = false
    var minMod: Int64 = 0
    var maxMod: Int64 = 0
    var minCreate: Int64 = 0
    var maxCreate: Int64 = 0

    init(_ key: Bytes, _ end: Bytes = []) {
        self.key = key
        self.end = end
    }

    init(_ key: String, _ end: String = "") { self.init(utf8(key), utf8(end)) }

    static let everything = RangeMessage([0], [0])

    func with(_ change: (inout Self) -> Void) -> Self {
        var copy = self
        change(&copy)
        return copy
    }

    var encoded: Bytes {
        var writer = WireWriter()
        writer.bytesField(1, key)
        writer.bytesField(2, end)
        for (field, number) in [(3, limit), (4, revision), (5, sortOrder), (6, sortTarget)] {
            writer.int64Field(field, number)
        }
        writer.boolField(7, serializable)
        writer.boolField(8, keysOnly)
        writer.boolField(9, countOnly)
        for (field, number) in [(10, minMod), (11, maxMod), (12, minCreate), (13, maxCreate)] {
            writer.int64Field(field, number)
        }
        return writer.bytes
    }
}

struct DeleteMessage {
    var key: Bytes
    var end: Bytes = []
    var prevKV = false

    init(_ key: Bytes, _ end: Bytes = [], prevKV: Bool = false) {
        self.key = key
        self.end = end
        self.prevKV = prevKV
    }

    init(_ key: String, _ end: String = "", prevKV: Bool = false) {
        self.init(utf8(key), utf8(end), prevKV: prevKV)
    }

    var encoded: Bytes {
        var writer = WireWriter()
        writer.bytesField(1, key)
        writer.bytesField(2, end)
        writer.boolField(3, prevKV)
        return writer.bytes
    }
}

struct CompareMessage {
    enum Result: Int64, CaseIterable { case equal, greater, less, notEqual }
    enum Target: Int64, CaseIterable { case version, create, mod, value, lease }
    enum Arm {
        case number(Target, Int64)
        case value(Bytes)
        case none
    }

    var target: Target
    var key: Bytes
    var end: Bytes = []
    var result: Result
    var arm: Arm

    init(_ target: Target, _ key: String, _ result: Result, _ number: Int64, end: String = "") {
        self.init(target: target, key: utf8(key), end: utf8(end), result: result, arm: .number(target, number))
    }

    init(valueOf key: String, _ result: Result, _ value: String, end: String = "") {
        self.init(target: .value, key: utf8(key), end: utf8(end), result: result, arm: .value(utf8(value)))
    }

    init(target: Target, key: Bytes, end: Bytes, result: Result, arm: Arm) {
        self.target = target
        self.key = key
        self.end = end
        self.result = result
        self.arm = arm
    }

    var encoded: Bytes {
        var writer = WireWriter()
        writer.int64Field(1, result.rawValue)
        writer.int64Field(2, target.rawValue)
        writer.bytesField(3, key)
        switch arm {
        case .number(let target, let number):
            // An arm that is set is written even when it holds the default.
            writer.tag(Int(target.rawValue) + 4, .varint)
            writer.varint(UInt64(bitPattern: number))
        case .value(let value): writer.messageField(7, value)
        case .none: break
        }
        writer.bytesField(64, end)
        return writer.bytes
    }
}

enum OperationMessage {
    case range(RangeMessage)
    case put(PutMessage)
    case delete(DeleteMessage)
    indirect case txn(TxnMessage)
    case empty

    var encoded: Bytes {
        var writer = WireWriter()
        switch self {
        case .range(let message): writer.messageField(1, message.encoded)
        case .put(let message): writer.messageField(2, message.encoded)
        case .delete(let message): writer.messageField(3, message.encoded)
        case .txn(let message): writer.messageField(4, message.encoded)
        case .empty: break
        }
        return writer.bytes
    }
}

struct TxnMessage {
    var compares: [CompareMessage] = []
    var success: [OperationMessage] = []
    var failure: [OperationMessage] = []

    var encoded: Bytes {
        var writer = WireWriter()
        for compare in compares { writer.messageField(1, compare.encoded) }
        for operation in success { writer.messageField(2, operation.encoded) }
        for operation in failure { writer.messageField(3, operation.encoded) }
        return writer.bytes
    }
}

/// Messages that are a few numbers: compaction, leases, alarms.
func numbers(_ fields: Int64...) -> Bytes {
    var writer = WireWriter()
    for (position, number) in fields.enumerated() { writer.int64Field(position + 1, number) }
    return writer.bytes
}

/// A request for a place, as the log carries it.
struct AcquireMessage {
    var name: String
    var lease: Int64
    var ttl: Int64 = 10
    var waitMilliseconds: Int64?
    var mode = LockMode.exclusive
    var permits: Int64 = 0
    /// Nil: the key named like the lock.
    var guards: [(key: String, end: String)]?
    var owner = ""
    var origin = AcquireView.Origin.lock
    var value = ""
    var at: Int64 = 1

    init(_ name: String, lease: Int64) {
        self.name = name
        self.lease = lease
    }

    var encoded: Bytes {
        var writer = WireWriter()
        writer.bytesField(1, Array(name.utf8))
        writer.int64Field(2, ttl)
        if let waitMilliseconds {
            writer.tag(4, .varint)
            writer.varint(UInt64(bitPattern: waitMilliseconds))
        }
        writer.int64Field(5, mode.rawValue)
        writer.int64Field(6, permits)
        for one in guards ?? [] {
            writer.message(7) { (body) throws(Never) in
                body.bytesField(1, Array(one.key.utf8))
                body.bytesField(2, Array(one.end.utf8))
            }
        }
        writer.boolField(8, guards?.isEmpty ?? false)
        writer.bytesField(9, Array(owner.utf8))
        return writer.bytes
            + AcquireView.suffix(lease: LeaseID(lease), at: at, origin: origin, value: Array(value.utf8))
    }
}
