public import ProtobufWire
public import Vocabulary

/// A `berth.v1.AcquireRequest` read in place: from a client, and, with the fields that the server adds behind the
/// client's bytes, from the log.
///
/// Borrows: every slice points into the message it was made from and dies with it.
public struct AcquireView {
    /// Who asks, which decides what is kept of the place.
    public enum Origin: Int64, Sendable {
        /// `berth.v1.Locks`: the place is protected and may guard keys.
        case lock = 0
        /// `berth.v1.Elections`: protected, guards nothing, carries a proposal.
        case election = 1
        /// etcd's Lock and Election services: an ordinary key.
        case etcd = 2
    }

    /// A guard as it stands in the request.
    public struct Guard {
        /// The only key, or the first.
        public var key = noBytes
        /// Empty, an exclusive end, or one zero byte for "no end".
        public var rangeEnd = noBytes
    }

    /// The lock's name.
    public private(set) var name = noBytes
    /// Seconds the lease is to live; zero when it must exist.
    public private(set) var timeToLive: Int64 = 0
    /// The lease that owns the place.
    public private(set) var lease = LeaseID.none
    /// Longest wait; nil is without bound.
    public private(set) var waitMilliseconds: Int64?
    /// The mode's number as sent.
    public private(set) var rawMode: Int64 = 0
    /// For a permit: how many may hold.
    public private(set) var permits: Int64 = 0
    /// What to guard, as sent.
    public private(set) var guards: [Guard] = []
    /// Guard nothing.
    public private(set) var isUnguarded = false
    /// Shown to others.
    public private(set) var owner = noBytes
    /// Entries of the attribute map, each an encoded submessage.
    public private(set) var attributes: [UnsafeRawBufferPointer] = []

    /// Added by the server: when the request came, in milliseconds since 1970.
    public private(set) var at: Int64 = 0
    /// Added by the server: the key's value.
    public private(set) var value = noBytes
    /// Added by the server: through which service.
    public private(set) var rawOrigin: Int64 = 0

    private enum Field {
        static let at = 100
        static let value = 101
        static let origin = 102
    }

    /// Reads a message.
    public init(_ message: UnsafeRawBufferPointer) throws(WireError) {
        var reader = WireReader(message)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: name = try reader.bytes(of: field)
            case 2: timeToLive = try reader.int64(of: field)
            case 3: lease = LeaseID(try reader.int64(of: field))
            case 4: waitMilliseconds = try reader.int64(of: field)
            case 5: rawMode = try reader.int64(of: field)
            case 6: permits = try reader.int64(of: field)
            case 7: guards.append(try Self.guardView(try reader.bytes(of: field)))
            case 8: isUnguarded = try reader.bool(of: field)
            case 9: owner = try reader.bytes(of: field)
            case 10: attributes.append(try reader.bytes(of: field))
            case Field.at: at = try reader.int64(of: field)
            case Field.value: value = try reader.bytes(of: field)
            case Field.origin: rawOrigin = try reader.int64(of: field)
            default: try reader.skip(field)
            }
        }
    }

    private static func guardView(_ message: UnsafeRawBufferPointer) throws(WireError) -> Guard {
        var view = Guard()
        var reader = WireReader(message)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: view.key = try reader.bytes(of: field)
            case 2: view.rangeEnd = try reader.bytes(of: field)
            default: try reader.skip(field)
            }
        }
        return view
    }

    /// The mode, nil when its number means nothing.
    public var mode: LockMode? { LockMode(rawValue: rawMode) }
    /// Who asks; an unknown number is a plain place.
    public var origin: Origin { Origin(rawValue: rawOrigin) ?? .etcd }
    /// Nothing is to be left behind unless the place holds at once.
    public var triesOnce: Bool { waitMilliseconds == 0 }

    /// What the server adds behind a client's bytes. The fields come last, so they count.
    public static func suffix(lease: LeaseID, at: Int64, origin: Origin, value: [UInt8] = []) -> [UInt8] {
        var writer = WireWriter(capacity: 40 + value.count)
        writer.int64Field(3, lease.value)
        // Always there: a client's own must not count.
        writer.tag(Field.at, .varint)
        writer.varint(UInt64(bitPattern: at))
        writer.messageField(Field.value, value)
        writer.tag(Field.origin, .varint)
        writer.varint(UInt64(bitPattern: origin.rawValue))
        return writer.bytes
    }

    /// A request the server makes itself, for a campaign or for etcd's services.
    public static func encoded(
        name: [UInt8], timeToLive: Int64, lease: LeaseID, waitMilliseconds: Int64?, owner: [UInt8], at: Int64,
        origin: Origin, value: [UInt8]
    ) -> [UInt8] {
        var writer = WireWriter(capacity: 64 + name.count + owner.count + value.count)
        writer.bytesField(1, name)
        writer.int64Field(2, timeToLive)
        if let waitMilliseconds {
            writer.tag(4, .varint)
            writer.varint(UInt64(bitPattern: waitMilliseconds))
        }
        writer.boolField(8, true)
        writer.bytesField(9, owner)
        writer.bytes.append(contentsOf: suffix(lease: lease, at: at, origin: origin, value: value))
        return writer.bytes
    }
}
