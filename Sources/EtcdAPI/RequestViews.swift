public import ProtobufWire
public import Vocabulary

// Views borrow: every slice points into the message they were made from and dies with it. A field given twice counts
// as its last; unknown fields are passed over.

/// An `etcdserverpb.PutRequest` read in place.
public struct PutRequestView {
    /// The key to write.
    public var key = noBytes
    /// The value to write.
    public var value = noBytes
    /// The lease to attach the key to.
    public var lease = LeaseID.none
    /// The answer carries what the key held before.
    public var wantsPrevious = false
    /// Keep the value there is.
    public var ignoresValue = false
    /// Keep the lease there is.
    public var ignoresLease = false

    /// Reads a message.
    public init(_ message: UnsafeRawBufferPointer) throws(WireError) {
        var reader = WireReader(message)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: key = try reader.bytes(of: field)
            case 2: value = try reader.bytes(of: field)
            case 3: lease = LeaseID(try reader.int64(of: field))
            case 4: wantsPrevious = try reader.bool(of: field)
            case 5: ignoresValue = try reader.bool(of: field)
            case 6: ignoresLease = try reader.bool(of: field)
            default: try reader.skip(field)
            }
        }
    }
}

/// An `etcdserverpb.RangeRequest` read in place.
public struct RangeRequestView {
    /// What results are ordered by.
    public enum SortTarget: Int64, Sendable {
        case key = 0
        case version = 1
        case create = 2
        case modification = 3
        case value = 4
    }

    /// In which direction; `none` means in key order, unless the target is not the key.
    public enum SortOrder: Int64, Sendable {
        case none = 0
        case ascending = 1
        case descending = 2
    }

    /// The only key, or the first.
    public var key = noBytes
    /// Empty, an exclusive end, or one zero byte for "no end".
    public var rangeEnd = noBytes
    /// How many results at most; zero and less set no limit.
    public var limit: Int64 = 0
    /// The revision to read at; zero and less mean the newest.
    public var revision: Int64 = 0
    /// The order's number as sent; see `sortOrder`.
    public var rawSortOrder: Int64 = 0
    /// The target's number as sent; see `sortTarget`.
    public var rawSortTarget: Int64 = 0
    /// Local state is good enough.
    public var isSerializable = false
    /// Leave the values out.
    public var keysOnly = false
    /// Nothing but the count.
    public var countOnly = false
    /// Bounds on the revision of the last write, inclusive; zero sets none.
    public var minModRevision: Int64 = 0, maxModRevision: Int64 = 0
    /// Bounds on the revision of creation, inclusive; zero sets none.
    public var minCreateRevision: Int64 = 0, maxCreateRevision: Int64 = 0

    /// Reads a message.
    public init(_ message: UnsafeRawBufferPointer) throws(WireError) {
        var reader = WireReader(message)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: key = try reader.bytes(of: field)
            case 2: rangeEnd = try reader.bytes(of: field)
            case 3: limit = try reader.int64(of: field)
            case 4: revision = try reader.int64(of: field)
            case 5: rawSortOrder = try reader.enumeration(of: field)
            case 6: rawSortTarget = try reader.enumeration(of: field)
            case 7: isSerializable = try reader.bool(of: field)
            case 8: keysOnly = try reader.bool(of: field)
            case 9: countOnly = try reader.bool(of: field)
            case 10: minModRevision = try reader.int64(of: field)
            case 11: maxModRevision = try reader.int64(of: field)
            case 12: minCreateRevision = try reader.int64(of: field)
            case 13: maxCreateRevision = try reader.int64(of: field)
            default: try reader.skip(field)
            }
        }
    }

    /// The order, nil when its number means nothing.
    public var sortOrder: SortOrder? { SortOrder(rawValue: rawSortOrder) }
    /// The target, nil when its number means nothing.
    public var sortTarget: SortTarget? { SortTarget(rawValue: rawSortTarget) }
    /// Whether any bound on revisions is set.
    public var hasFilters: Bool {
        minModRevision | maxModRevision | minCreateRevision | maxCreateRevision != 0
    }
}

/// An `etcdserverpb.DeleteRangeRequest` read in place.
public struct DeleteRangeRequestView {
    /// The only key, or the first.
    public var key = noBytes
    /// Empty, an exclusive end, or one zero byte for "no end".
    public var rangeEnd = noBytes
    /// The answer carries what was deleted.
    public var wantsPrevious = false

    /// Reads a message.
    public init(_ message: UnsafeRawBufferPointer) throws(WireError) {
        var reader = WireReader(message)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: key = try reader.bytes(of: field)
            case 2: rangeEnd = try reader.bytes(of: field)
            case 3: wantsPrevious = try reader.bool(of: field)
            default: try reader.skip(field)
            }
        }
    }
}

/// An `etcdserverpb.CompactionRequest` read in place.
public struct CompactionRequestView {
    /// The oldest revision to stay readable.
    public var revision: Int64 = 0
    /// Answer only when the old data is gone from disk.
    public var isPhysical = false

    /// Reads a message.
    public init(_ message: UnsafeRawBufferPointer) throws(WireError) {
        var reader = WireReader(message)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: revision = try reader.int64(of: field)
            case 2: isPhysical = try reader.bool(of: field)
            default: try reader.skip(field)
            }
        }
    }
}

extension WireReader {
    /// An enumeration's number: 32 bits, whatever was sent.
    mutating func enumeration(of field: (field: Int, type: WireType)) throws(WireError) -> Int64 {
        Int64(Int32(truncatingIfNeeded: try varint(of: field)))
    }
}
