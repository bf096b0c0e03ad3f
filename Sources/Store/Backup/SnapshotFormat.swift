public import Vocabulary

/// A snapshot file, byte by byte: a logical copy of base at one position of the log. `docs/snapshot-format.md` says the
/// same for readers in other languages.
///
/// All numbers are big-endian. The file is 8 bytes `berthsnp`, the format's version (4), then blocks, then nothing more:
///
///     kind (1)  length of the payload (4)  payload  checksum (4)
///
/// The checksum is the CRC-32C of every byte of the file before it, but for the checksums of earlier blocks: so it
/// holds a block to its place, and a block that is left out, repeated or moved is damage like any other. A payload holds
/// whole entries; one is closed when it has 192 KiB, and none is longer than 128 MiB.
///
/// | kind | payload |
/// | --- | --- |
/// | 1, header: once, first | `SnapshotHeader`, 80 bytes |
/// | 2, revisions | entries: main revision (8), sub (4), length (4), the stored value: a kind byte (0 put, 1 deletion) and the encoded `mvccpb.KeyValue`. Ascending over the whole file |
/// | 3, records | the table's number (1), then entries: length of the key (4), of the value (4), key, value. Tables ascending, keys ascending within a table |
/// | 4, trailer: once, last | revisions (8), live keys (8), number of tables (1), for each its number (1) and records (8), the store's hash (4) |
///
/// The index of keys is not in the file: everything in it follows from the revisions.
enum SnapshotFormat {
    static let magic = Array("berthsnp".utf8)
    static let version: UInt32 = 1
    static let preambleSize = 12
    static let blockHeadSize = 5
    static let checksumSize = 4
    /// A block is closed when its payload has as many bytes. A larger entry has a larger block.
    static let blockBytes = 192 << 10
    /// No payload is longer: an entry is what one request wrote, and the largest that a server can be told to take has
    /// 64 MiB. Whoever reads a length takes no more memory for it than this.
    static let largestBlock = 128 << 20

    enum Kind: UInt8 {
        case header = 1
        case revisions = 2
        case records = 3
        case trailer = 4
    }
}

/// What a snapshot says of the store it was taken from.
public struct SnapshotHeader: Hashable, Sendable {
    /// How the entries' bytes are laid out: `Layout.formatVersion` of the store.
    var layout: UInt32
    /// The member it was taken from.
    public var identity: MemberIdentity
    /// It holds the effects of every log entry up to here, and of none behind.
    public var appliedIndex: RaftIndex
    /// That entry's term.
    public var appliedTerm: RaftTerm
    /// The newest revision in it.
    public var currentRevision: Revision
    /// Revisions below are refused. Zero when nothing was ever compacted.
    public var compactedRevision: Revision
    /// How far physical compaction had come. Zeros are always right: then its walk is made once more.
    var compaction: CompactionPosition
    /// When it was taken, in milliseconds since 1970 by the server's clock. For people to read.
    public var takenAtMilliseconds: Int64

    static let size = 80

    var encoded: [UInt8] {
        var bytes = BigEndianBytes()
        bytes.add(layout)
        bytes.add(identity.clusterID)
        bytes.add(identity.memberID)
        bytes.add(appliedIndex.value)
        bytes.add(appliedTerm.value)
        bytes.add(UInt64(bitPattern: currentRevision.value))
        bytes.add(UInt64(bitPattern: compactedRevision.value))
        bytes.add(UInt64(bitPattern: compaction.done.value))
        bytes.add(UInt64(bitPattern: compaction.main.value))
        bytes.add(compaction.sub)
        bytes.add(UInt64(bitPattern: takenAtMilliseconds))
        return bytes.bytes
    }
}

/// Where the removal of compacted revisions stands; what base's `meta` says of it.
struct CompactionPosition: Hashable, Sendable {
    /// The last compaction whose removals are all done.
    var done = Revision.zero
    /// The next change the walk in progress looks at.
    var main = Revision.zero
    var sub: UInt32 = 0
}

/// What a snapshot says of itself at its end.
struct SnapshotTrailer: Hashable, Sendable {
    var revisions: UInt64 = 0
    var liveKeys: UInt64 = 0
    /// Records of each table; every table the writer knew is named.
    var records: [RecordTable: UInt64] = [:]
    /// `Store.hash()` of the store at the snapshot's position.
    var hash: UInt32 = 0

    var encoded: [UInt8] {
        var bytes = BigEndianBytes()
        bytes.add(revisions)
        bytes.add(liveKeys)
        bytes.add(UInt8(RecordTable.allCases.count))
        for table in RecordTable.allCases {
            bytes.add(table.rawValue)
            bytes.add(records[table] ?? 0)
        }
        bytes.add(hash)
        return bytes.bytes
    }
}

/// Bytes put together from numbers.
struct BigEndianBytes {
    var bytes: [UInt8] = []

    mutating func add(_ number: some FixedWidthInteger) {
        withUnsafeBytes(of: number.bigEndian) { bytes.append(contentsOf: $0) }
    }
}

/// Takes numbers and bytes from the front of a payload; nil when there are not so many.
struct BigEndianCursor {
    private(set) var rest: UnsafeRawBufferPointer

    init(_ bytes: UnsafeRawBufferPointer) { rest = bytes }

    mutating func number<Number: FixedWidthInteger>(_ type: Number.Type = Number.self) -> Number? {
        guard let bytes = take(MemoryLayout<Number>.size) else { return nil }
        return Number(bigEndian: bytes.loadUnaligned(as: Number.self))
    }

    mutating func take(_ count: Int) -> UnsafeRawBufferPointer? {
        guard count <= rest.count else { return nil }
        defer { rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(count)) }
        return UnsafeRawBufferPointer(rebasing: rest.prefix(count))
    }
}

extension SnapshotHeader {
    /// Nil when the payload is none, or says what cannot be.
    init?(_ payload: UnsafeRawBufferPointer) {
        guard payload.count == Self.size else { return nil }
        var cursor = BigEndianCursor(payload)
        guard let layout = cursor.number(UInt32.self), let cluster = cursor.number(UInt64.self),
            let member = cursor.number(UInt64.self), let index = cursor.number(UInt64.self),
            let term = cursor.number(UInt64.self), let current = cursor.number(Int64.self),
            let compacted = cursor.number(Int64.self), let done = cursor.number(Int64.self),
            let main = cursor.number(Int64.self), let sub = cursor.number(UInt32.self),
            let takenAt = cursor.number(Int64.self)
        else { return nil }
        guard current >= Revision.initial.value, (0...current).contains(compacted), (0...compacted).contains(done),
            (0...current).contains(main)
        else { return nil }
        self.init(
            layout: layout, identity: MemberIdentity(clusterID: cluster, memberID: member),
            appliedIndex: RaftIndex(index), appliedTerm: RaftTerm(term), currentRevision: Revision(current),
            compactedRevision: Revision(compacted),
            compaction: CompactionPosition(done: Revision(done), main: Revision(main), sub: sub),
            takenAtMilliseconds: takenAt)
    }
}

extension SnapshotTrailer {
    /// Nil when the payload is none, or names a table that is not known here.
    init?(_ payload: UnsafeRawBufferPointer) {
        var cursor = BigEndianCursor(payload)
        guard let revisions = cursor.number(UInt64.self), let liveKeys = cursor.number(UInt64.self),
            let tables = cursor.number(UInt8.self)
        else { return nil }
        var records: [RecordTable: UInt64] = [:]
        for _ in 0..<tables {
            guard let number = cursor.number(UInt8.self), let count = cursor.number(UInt64.self),
                let table = RecordTable(rawValue: number), records.updateValue(count, forKey: table) == nil
            else { return nil }
        }
        guard let hash = cursor.number(UInt32.self), cursor.rest.isEmpty else { return nil }
        self.init(revisions: revisions, liveKeys: liveKeys, records: records, hash: hash)
    }
}
