public import EtcdAPI
public import ProtobufWire
public import Vocabulary

/// Something that happened to a place in a line.
public struct LineEvent: Sendable {
    /// What happened.
    public let kind: LineEventKind
    /// When, as the store counts.
    public let revision: Revision
    /// The line's name.
    public let name: [UInt8]
    /// The place's key.
    public let key: [UInt8]
    /// The place's token.
    public let token: Revision
    /// Places before it.
    public let ahead: Int
    /// It held when this happened, or holds since.
    public let held: Bool
    /// The `berth.v1.Event`.
    public let encoded: [UInt8]
}

/// Why a place ends, and when: set by the entry that is being applied.
struct LineCause {
    enum Kind {
        case client
        case expiry
        case broken(by: [UInt8], reason: [UInt8])
    }

    var kind = Kind.client
    /// Milliseconds since 1970; zero when the entry does not say.
    var at: Int64 = 0

    /// What becomes of a place that goes.
    func end(held: Bool) -> LineEventKind {
        switch kind {
        case .client: held ? .released : .gaveUp
        case .expiry: .expired
        case .broken: .broken
        }
    }
}

extension LineEvent {
    init(
        _ kind: LineEventKind, _ place: LockPlace, of line: LockLine, at revision: Revision, ahead: Int, held: Bool,
        _ cause: LineCause
    ) {
        self.kind = kind
        self.revision = revision
        name = line.name
        key = place.key
        token = place.token
        self.ahead = ahead
        self.held = held
        var writer = WireWriter(capacity: 64 + line.name.count + place.key.count)
        writer.int64Field(1, kind.rawValue)
        writer.int64Field(2, revision.value)
        writer.bytesField(3, line.name)
        writer.bytesField(4, place.key)
        writer.int64Field(5, place.token.value)
        writer.int64Field(6, place.lease.value)
        writer.bytesField(7, place.terms.owner)
        writer.int64Field(8, place.terms.mode.rawValue)
        writer.int64Field(9, place.terms.permits)
        writer.int64Field(10, Int64(ahead))
        writer.boolField(11, held)
        if kind == .broken, case .broken(let by, let reason) = cause.kind {
            writer.bytesField(12, by)
            writer.bytesField(13, reason)
        }
        writer.int64Field(14, cause.at)
        encoded = writer.bytes
    }

    /// Reads an event back from a record.
    public init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
        var kind = LineEventKind.queued
        var numbers: [Int: Int64] = [:]
        var name: [UInt8] = []
        var key: [UInt8] = []
        var reader = WireReader(bytes)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: kind = LineEventKind(rawValue: try reader.int64(of: field)) ?? .queued
            case 2, 5, 10, 11: numbers[field.field] = try reader.int64(of: field)
            case 3: name = Array(try reader.bytes(of: field))
            case 4: key = Array(try reader.bytes(of: field))
            default: try reader.skip(field)
            }
        }
        self.kind = kind
        revision = Revision(numbers[2] ?? 0)
        self.name = name
        self.key = key
        token = Revision(numbers[5] ?? 0)
        ahead = Int(clamping: numbers[10] ?? 0)
        held = numbers[11] == 1
        encoded = Array(bytes)
    }

    /// All events of one revision, as they are stored under it in table `line_events`: field 2, repeated.
    static func record(_ events: some Sequence<LineEvent>) -> [UInt8] {
        var writer = WireWriter(capacity: 256)
        for event in events { writer.messageField(2, event.encoded) }
        return writer.bytes
    }

    /// Reads what `record` made.
    public static func read(record: UnsafeRawBufferPointer) throws(WireError) -> [LineEvent] {
        var events: [LineEvent] = []
        var reader = WireReader(record)
        while let field = try reader.nextField() {
            guard field.field == 2 else {
                try reader.skip(field)
                continue
            }
            events.append(try LineEvent(try reader.bytes(of: field)))
        }
        return events
    }
}
