import EtcdAPI
import SwiftProtobuf

/// A read of a key or a range: a part of a transaction, or asked for by `KV.page`.
public struct Get: Sendable, Hashable {
    /// What results are ordered by.
    public enum Order: Sendable, Hashable {
        /// By key.
        case key
        /// By the number of puts.
        case version
        /// By the revision that created the key.
        case createRevision
        /// By the revision of the last put.
        case modRevision
        /// Bytewise by value.
        case value
    }

    /// Which keys.
    public var range: KeyRange
    /// As of this revision; nil is now.
    public var revision: Int64?
    /// Most keys to answer with; nil is all.
    public var limit: Int?
    /// What they are ordered by.
    public var order = Order.key
    /// Last first.
    public var descending = false
    /// Leaves the values empty.
    public var keysOnly = false
    /// Answers with the count alone.
    public var countOnly = false
    /// Any server's own state will do.
    public var isSerializable = false
    /// Only keys created at this revision or before.
    public var maxCreateRevision: Int64?

    /// Reads a range; a literal is one key.
    public init(_ range: KeyRange) { self.range = range }

    /// Reads the first keys of a range in some order.
    public init(_ range: KeyRange, limit: Int?, order: Order = .key, descending: Bool = false) {
        self.range = range
        self.limit = limit
        self.order = order
        self.descending = descending
    }

    var wire: Etcdserverpb_RangeRequest {
        .with {
            $0.key = range.key.data
            $0.rangeEnd = range.end.data
            $0.revision = revision ?? 0
            $0.limit = Int64(limit ?? 0)
            $0.sortOrder = descending ? .descend : order == .key ? .none : .ascend
            $0.sortTarget =
                switch order {
                case .key: .key
                case .version: .version
                case .createRevision: .create
                case .modRevision: .mod
                case .value: .value
                }
            $0.keysOnly = keysOnly
            $0.countOnly = countOnly
            $0.serializable = isSerializable
            $0.maxCreateRevision = maxCreateRevision ?? 0
        }
    }
}

/// The answer to one read.
public struct RangePage: Sendable, Hashable {
    /// The keys found, in the order asked for.
    public var values: [KeyValue]
    /// Whether the limit cut some off.
    public var more: Bool
    /// How many keys the range holds, limit or not.
    public var count: Int
    /// The store's revision when it answered.
    public var revision: Int64

    init(_ wire: Etcdserverpb_RangeResponse) {
        values = wire.kvs.map(KeyValue.init)
        more = wire.more
        count = Int(wire.count)
        revision = wire.header.revision
    }
}
