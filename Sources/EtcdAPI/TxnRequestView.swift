public import ProtobufWire

/// An `etcdserverpb.TxnRequest` with everything in it, nested transactions too, read in place.
public struct TxnRequestView {
    /// Conditions, all of which must hold for `success` to run.
    public var compares: [CompareView] = []
    /// What runs when they hold.
    public var success: [RequestOpView] = []
    /// What runs when they do not.
    public var failure: [RequestOpView] = []

    /// Deeper nesting than any operation limit allows; the bound keeps a hostile message from exhausting the stack.
    private static let nestingLimit = 256

    /// Reads a message.
    public init(_ message: UnsafeRawBufferPointer) throws(WireError) {
        try self.init(message, depth: 0)
    }

    fileprivate init(_ message: UnsafeRawBufferPointer, depth: Int) throws(WireError) {
        guard depth < Self.nestingLimit else { throw .nestedTooDeep }
        var reader = WireReader(message)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: compares.append(try CompareView(reader.bytes(of: field)))
            case 2: success.append(try RequestOpView(reader.bytes(of: field), depth: depth))
            case 3: failure.append(try RequestOpView(reader.bytes(of: field), depth: depth))
            default: try reader.skip(field)
            }
        }
    }

    /// Both branches hold nothing but ranges: no log entry is needed. A nested transaction always counts as a write.
    public var isReadOnly: Bool {
        [success, failure].allSatisfy { branch in
            branch.allSatisfy { operation in
                if case .range = operation { true } else { false }
            }
        }
    }
}

/// An `etcdserverpb.RequestOp` read in place.
public enum RequestOpView {
    case range(RangeRequestView)
    case put(PutRequestView)
    case deleteRange(DeleteRangeRequestView)
    indirect case txn(TxnRequestView)
    /// No arm was set.
    case empty

    fileprivate init(_ message: UnsafeRawBufferPointer, depth: Int) throws(WireError) {
        self = .empty
        var reader = WireReader(message)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: self = .range(try RangeRequestView(reader.bytes(of: field)))
            case 2: self = .put(try PutRequestView(reader.bytes(of: field)))
            case 3: self = .deleteRange(try DeleteRangeRequestView(reader.bytes(of: field)))
            case 4: self = .txn(try TxnRequestView(reader.bytes(of: field), depth: depth + 1))
            default: try reader.skip(field)
            }
        }
    }
}

/// An `etcdserverpb.Compare` read in place.
public struct CompareView {
    /// How the key's attribute must stand to the given one.
    public enum Result: Int64, Sendable {
        case equal = 0
        case greater = 1
        case less = 2
        case notEqual = 3
    }

    /// Which attribute is compared.
    public enum Target: Int64, Sendable {
        case version = 0
        case create = 1
        case modification = 2
        case value = 3
        case lease = 4

        /// The arm of `target_union` that belongs to the target.
        var arm: Int { Int(rawValue) + 4 }
    }

    /// The result's number as sent.
    public var rawResult: Int64 = 0
    /// The target's number as sent.
    public var rawTarget: Int64 = 0
    /// The only key, or the first.
    public var key = noBytes
    /// Empty, an exclusive end, or one zero byte for "no end".
    public var rangeEnd = noBytes
    private var arm = 0
    private var armNumber: Int64 = 0
    private var armValue = noBytes

    /// Reads a message.
    public init(_ message: UnsafeRawBufferPointer) throws(WireError) {
        var reader = WireReader(message)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: rawResult = try reader.enumeration(of: field)
            case 2: rawTarget = try reader.enumeration(of: field)
            case 3: key = try reader.bytes(of: field)
            case 4, 5, 6, 8:
                armNumber = try reader.int64(of: field)
                arm = field.field
            case 7:
                armValue = try reader.bytes(of: field)
                arm = field.field
            case 64: rangeEnd = try reader.bytes(of: field)
            default: try reader.skip(field)
            }
        }
    }

    /// The relation, nil when its number means nothing.
    public var result: Result? { Result(rawValue: rawResult) }
    /// The attribute, nil when its number means nothing.
    public var target: Target? { Target(rawValue: rawTarget) }
    /// The number to compare with; zero when the arm sent is not the target's.
    public var number: Int64 { arm == target?.arm && arm != 7 ? armNumber : 0 }
    /// The value to compare with; empty when the arm sent is not the value's.
    public var value: UnsafeRawBufferPointer { arm == 7 ? armValue : noBytes }
}
