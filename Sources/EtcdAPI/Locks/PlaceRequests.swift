public import ProtobufWire
public import Vocabulary

/// Ends one place: a `berth.v1.ReleaseRequest` with the time the server adds.
public struct ReleaseView {
    /// The owner key.
    public private(set) var key = noBytes
    /// Its create revision.
    public private(set) var token = Revision.zero
    /// When, in milliseconds since 1970.
    public private(set) var at: Int64 = 0
    /// Release only what was claimed so often: of a call that gives up. Nil is the owner's own will.
    public private(set) var claim: Int64?

    /// Reads a message.
    public init(_ message: UnsafeRawBufferPointer) throws(WireError) {
        var reader = WireReader(message)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: key = try reader.bytes(of: field)
            case 2: token = Revision(try reader.int64(of: field))
            case 100: at = try reader.int64(of: field)
            case 101: claim = try reader.int64(of: field)
            default: try reader.skip(field)
            }
        }
    }

    /// The command.
    public static func encoded(key: [UInt8], token: Revision, at: Int64, claim: Int64? = nil) -> [UInt8] {
        var writer = WireWriter(capacity: 32 + key.count)
        writer.bytesField(1, key)
        writer.int64Field(2, token.value)
        writer.int64Field(100, at)
        if let claim {
            writer.tag(101, .varint)
            writer.varint(UInt64(bitPattern: claim))
        }
        return writer.bytes
    }
}

/// Takes a place away: a `berth.v1.BreakRequest` with the time the server adds.
public struct BreakView {
    /// The lock's name.
    public private(set) var name = noBytes
    /// Which place; zero is the head of the line.
    public private(set) var token = Revision.zero
    /// Who breaks it.
    public private(set) var by = noBytes
    /// Why.
    public private(set) var reason = noBytes
    /// When, in milliseconds since 1970.
    public private(set) var at: Int64 = 0

    /// Reads a message.
    public init(_ message: UnsafeRawBufferPointer) throws(WireError) {
        var reader = WireReader(message)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: name = try reader.bytes(of: field)
            case 2: token = Revision(try reader.int64(of: field))
            case 3: by = try reader.bytes(of: field)
            case 4: reason = try reader.bytes(of: field)
            case 100: at = try reader.int64(of: field)
            default: try reader.skip(field)
            }
        }
    }

    /// What the server adds behind a client's bytes.
    public static func suffix(at: Int64) -> [UInt8] {
        var writer = WireWriter(capacity: 12)
        writer.tag(100, .varint)
        writer.varint(UInt64(bitPattern: at))
        return writer.bytes
    }
}

/// Ends a lease whose time is up: a `LeaseRevokeRequest` with the time.
public struct LeaseExpiryView {
    /// The lease.
    public private(set) var id = LeaseID.none
    /// When, in milliseconds since 1970.
    public private(set) var at: Int64 = 0

    /// Reads a message.
    public init(_ message: UnsafeRawBufferPointer) throws(WireError) {
        var reader = WireReader(message)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: id = LeaseID(try reader.int64(of: field))
            case 100: at = try reader.int64(of: field)
            default: try reader.skip(field)
            }
        }
    }

    /// The command.
    public static func encoded(id: LeaseID, at: Int64) -> [UInt8] {
        var writer = WireWriter(capacity: 24)
        writer.int64Field(1, id.value)
        writer.int64Field(100, at)
        return writer.bytes
    }
}
