import ProtobufWire

/// Whom a request acts for, and the auth revision at which that was established. A member judges the request by both
/// when it applies it.
public struct Author: Hashable, Sendable {
    /// The user.
    public let name: AuthName
    /// The auth revision the caller's token stands for; never zero.
    public let authRevision: UInt64

    /// Names both.
    public init(name: AuthName, authRevision: UInt64) {
        self.name = name
        self.authRevision = authRevision
    }
}

/// An entry that is judged by whom it is made for: `CommandKind.authored`.
///
/// The length of the author's part, four bytes little-endian; the author as a message {1 name, 2 auth revision}; the kind
/// of the entry inside, one byte; that entry's payload.
public enum AuthoredEntry {
    /// What stands before the payload of the entry inside.
    public static func prefix(_ author: Author, kind: CommandKind) -> [UInt8] {
        var writer = WireWriter(capacity: 32 + author.name.bytes.count)
        writer.bytesField(1, author.name.bytes)
        writer.uint64Field(2, author.authRevision)
        let length = withUnsafeBytes(of: UInt32(writer.bytes.count).littleEndian) { Array($0) }
        return length + writer.bytes + [kind.rawValue]
    }

    /// Bytes that a prefix has at most.
    public static let maximumPrefix = 32 + AuthLimits.nameBytes

    /// Takes an entry apart.
    static func read(
        _ entry: UnsafeRawBufferPointer
    ) throws(WireError) -> (author: Author, kind: CommandKind, payload: UnsafeRawBufferPointer) {
        guard entry.count > 5 else { throw .truncated }
        let length = Int(UInt32(littleEndian: entry.loadUnaligned(as: UInt32.self)))
        guard length < entry.count - 4 else { throw .truncated }
        var name: [UInt8] = []
        var revision: UInt64 = 0
        var reader = WireReader(UnsafeRawBufferPointer(rebasing: entry[4..<4 + length]))
        while let field = try reader.nextField() {
            switch field.field {
            case 1: name = Array(try reader.bytes(of: field))
            case 2: revision = try reader.varint(of: field)
            default: try reader.skip(field)
            }
        }
        guard let kind = CommandKind(rawValue: entry[4 + length]), kind != .authored else { throw .badTag }
        return (
            Author(name: AuthName(name), authRevision: revision), kind,
            UnsafeRawBufferPointer(rebasing: entry[(5 + length)...])
        )
    }
}
