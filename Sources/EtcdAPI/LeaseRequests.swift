public import ProtobufWire
public import Vocabulary

/// An `etcdserverpb.LeaseGrantRequest`: read from a client, written into the log with the id filled in.
public struct LeaseGrantRequestView: Sendable {
    /// Seconds asked for.
    public var timeToLive: Int64
    /// The id asked for; none lets the server choose.
    public var id: LeaseID

    /// A grant the server makes itself.
    public init(id: LeaseID, timeToLive: Int64) {
        self.id = id
        self.timeToLive = timeToLive
    }

    /// Reads a message.
    public init(_ message: UnsafeRawBufferPointer) throws(WireError) {
        self.init(id: .none, timeToLive: 0)
        var reader = WireReader(message)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: timeToLive = try reader.int64(of: field)
            case 2: id = LeaseID(try reader.int64(of: field))
            default: try reader.skip(field)
            }
        }
    }

    /// The message.
    public func encoded() -> [UInt8] {
        var writer = WireWriter(capacity: 24)
        writer.int64Field(1, timeToLive)
        writer.int64Field(2, id.value)
        return writer.bytes
    }
}

/// An `etcdserverpb.LeaseRevokeRequest`, and every other message whose one field is a lease's id.
public struct LeaseIDRequestView: Sendable {
    /// The lease meant.
    public var id: LeaseID

    /// A request the server makes itself: an expiry.
    public init(id: LeaseID) { self.id = id }

    /// Reads a message.
    public init(_ message: UnsafeRawBufferPointer) throws(WireError) {
        self.init(id: .none)
        var reader = WireReader(message)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: id = LeaseID(try reader.int64(of: field))
            default: try reader.skip(field)
            }
        }
    }

    /// The message.
    public func encoded() -> [UInt8] {
        var writer = WireWriter(capacity: 12)
        writer.int64Field(1, id.value)
        return writer.bytes
    }
}

/// An `etcdserverpb.AlarmRequest`.
public struct AlarmRequestView: Sendable {
    /// What to do with the alarm.
    public enum Action: Int64, Sendable {
        case get = 0
        case activate = 1
        case deactivate = 2
    }

    /// The action's number as sent.
    public var rawAction: Int64
    /// The member the alarm belongs to.
    public var memberID: UInt64
    /// The kind of alarm: 0 none (for `get`: all), 1 NOSPACE, 2 CORRUPT.
    public var alarm: Int64

    /// A request the server makes itself: raising NOSPACE.
    public init(action: Action, memberID: UInt64, alarm: Int64) {
        self.rawAction = action.rawValue
        self.memberID = memberID
        self.alarm = alarm
    }

    /// Reads a message.
    public init(_ message: UnsafeRawBufferPointer) throws(WireError) {
        self.init(action: .get, memberID: 0, alarm: 0)
        var reader = WireReader(message)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: rawAction = try reader.enumeration(of: field)
            case 2: memberID = try reader.varint(of: field)
            case 3: alarm = try reader.enumeration(of: field)
            default: try reader.skip(field)
            }
        }
    }

    /// The action, nil when its number means nothing.
    public var action: Action? { Action(rawValue: rawAction) }

    /// The message.
    public func encoded() -> [UInt8] {
        var writer = WireWriter(capacity: 24)
        writer.int64Field(1, rawAction)
        writer.uint64Field(2, memberID)
        writer.int64Field(3, alarm)
        return writer.bytes
    }
}
