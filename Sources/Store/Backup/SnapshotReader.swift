import Glibc
import Vocabulary

/// What a snapshot file that was read to its end, and found whole, holds.
public struct SnapshotSummary: Hashable, Sendable {
    /// What it says of the store it was taken from.
    public var header: SnapshotHeader
    /// Version of the file's format.
    public var format: UInt32
    /// Bytes of the file.
    public var sizeInBytes: Int
    /// Changes in the history.
    public var revisions: UInt64
    /// Keys that exist at the newest revision.
    public var liveKeys: UInt64
    /// Records of each table.
    public var records: [RecordTable: UInt64]
    /// `Store.hash()` at the snapshot's position.
    public var hash: UInt32
}

/// Reads a snapshot file from its beginning to its end and believes nothing that no checksum has covered: every entry it
/// hands out is from a block whose bytes are right. Only when `read` has returned is the file known to be whole.
///
/// Used by one thread.
public final class SnapshotReader {
    enum Entry {
        case revision(Revision, UInt32, stored: UnsafeRawBufferPointer)
        case record(RecordTable, key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer)
    }

    private let path: String
    private let file: Int32
    /// Bytes of the file.
    let size: Int
    private var offset = 0
    private var checksum = CRC32C()
    private var buffer: [UInt8] = []
    /// Where the payload at hand begins, for messages.
    private var payloadOffset = 0
    private var found = SnapshotTrailer()
    private var lastRevision = (main: Revision.zero, sub: UInt32(0))
    private var lastTable: RecordTable?
    private var lastKey: [UInt8] = []

    /// What the file says of its store.
    public let header: SnapshotHeader

    /// Reads a file to its end without using it.
    ///
    /// - Parameter progress: told the bytes read so far and the file's size, now and then.
    public static func verify(
        _ path: String, progress: (_ read: Int, _ size: Int) -> Void = { _, _ in }
    ) throws(SnapshotError) -> SnapshotSummary {
        let reader = try SnapshotReader(path)
        return try reader.read(progress: progress) { (_) throws(SnapshotError) in }
    }

    /// Opens a file and reads its header.
    init(_ path: String) throws(SnapshotError) {
        // Without waiting: a pipe would make whoever opens it wait for a writer.
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard file >= 0 else { throw .unreadable(path: path, errno: errno) }
        do throws(SnapshotError) {
            var status = stat()
            guard fstat(file, &status) == 0 else { throw .unreadable(path: path, errno: errno) }
            guard status.st_mode & S_IFMT == S_IFREG else { throw .foreign(path: path) }
            var bytes = FileBytes(path: path, file: file, size: Int(status.st_size))
            header = try Self.readHeader(&bytes)
            self.path = path
            self.file = file
            size = bytes.size
            offset = bytes.offset
            checksum = bytes.checksum
        } catch {
            close(file)
            throw error
        }
    }

    deinit { close(file) }

    private static func readHeader(_ bytes: inout FileBytes) throws(SnapshotError) -> SnapshotHeader {
        var buffer: [UInt8] = []
        let magic = SnapshotFormat.magic.count
        let isForeign = bytes.size < magic
        guard !isForeign else { throw .foreign(path: bytes.path) }
        try bytes.read(magic, into: &buffer)
        guard buffer == SnapshotFormat.magic else { throw .foreign(path: bytes.path) }
        try bytes.read(4, into: &buffer)
        let version = buffer.reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        let kind = try bytes.readBlock(into: &buffer)
        // The version is looked at last: one that was flipped is damage, not the future. A later version may have any
        // first block, so it is believed when that has a checksum.
        guard version == SnapshotFormat.version else {
            throw .unknownVersion(path: bytes.path, found: version, expected: SnapshotFormat.version)
        }
        guard kind == SnapshotFormat.Kind.header.rawValue, let header = buffer.withUnsafeBytes({ SnapshotHeader($0) })
        else {
            throw .damaged(path: bytes.path, offset: SnapshotFormat.preambleSize, detail: "there is no header")
        }
        guard header.layout == UInt32(Layout.formatVersion) else {
            throw .unknownVersion(path: bytes.path, found: header.layout, expected: UInt32(Layout.formatVersion))
        }
        return header
    }

    /// Reads on to the end, and hands every entry out on the way.
    func read(
        progress: (_ read: Int, _ size: Int) -> Void, _ visit: (Entry) throws(SnapshotError) -> Void
    ) throws(SnapshotError) -> SnapshotSummary {
        while true {
            var bytes = FileBytes(path: path, file: file, size: size, offset: offset, checksum: checksum)
            let start = offset
            let kind = try bytes.readBlock(into: &buffer)
            offset = bytes.offset
            checksum = bytes.checksum
            payloadOffset = start + SnapshotFormat.blockHeadSize
            switch SnapshotFormat.Kind(rawValue: kind) {
            case .revisions: try readRevisions(visit)
            case .records: try readRecords(visit)
            case .trailer: return try readTrailer()
            case .header, nil:
                throw .damaged(path: path, offset: start, detail: "a block of kind \(kind) is out of place")
            }
            progress(offset, size)
        }
    }

    private func readRevisions(_ visit: (Entry) throws(SnapshotError) -> Void) throws(SnapshotError) {
        guard lastTable == nil else { throw damaged("revisions behind records") }
        // Taken out for the time, as the entries point into it.
        let payload = buffer
        buffer = []
        defer { buffer = payload }
        try payload.withRawBytes { bytes throws(SnapshotError) in
            var cursor = BigEndianCursor(bytes)
            while !cursor.rest.isEmpty {
                guard let main = cursor.number(Int64.self), let sub = cursor.number(UInt32.self),
                    let count = cursor.number(UInt32.self), let stored = cursor.take(Int(count)), !stored.isEmpty
                else { throw damaged("an entry is longer than its block") }
                let revision = Revision(main)
                guard (revision, sub) > lastRevision || found.revisions == 0, revision > .zero,
                    revision <= header.currentRevision
                else { throw damaged("revision \(main).\(sub) is out of order") }
                lastRevision = (revision, sub)
                found.revisions += 1
                try visit(.revision(revision, sub, stored: stored))
            }
        }
    }

    private func readRecords(_ visit: (Entry) throws(SnapshotError) -> Void) throws(SnapshotError) {
        let payload = buffer
        buffer = []
        defer { buffer = payload }
        try payload.withRawBytes { bytes throws(SnapshotError) in
            var cursor = BigEndianCursor(bytes)
            guard let number = cursor.number(UInt8.self), let table = RecordTable(rawValue: number) else {
                throw damaged("there is a table that this version of berth does not know")
            }
            if table != lastTable {
                guard table.rawValue > lastTable?.rawValue ?? 0 else { throw damaged("tables are out of order") }
                lastTable = table
                lastKey = []
            }
            while !cursor.rest.isEmpty {
                guard let keyCount = cursor.number(UInt32.self), let valueCount = cursor.number(UInt32.self),
                    let key = cursor.take(Int(keyCount)), let value = cursor.take(Int(valueCount)), !key.isEmpty
                else { throw damaged("an entry is longer than its block") }
                guard lastKey.withUnsafeBytes({ compareBytes($0, key) < 0 }) else {
                    throw damaged("records are out of order")
                }
                lastKey.removeAll(keepingCapacity: true)
                lastKey.append(contentsOf: key)
                found.records[table, default: 0] += 1
                try visit(.record(table, key: key, value: value))
            }
        }
    }

    private func readTrailer() throws(SnapshotError) -> SnapshotSummary {
        guard let trailer = buffer.withUnsafeBytes({ SnapshotTrailer($0) }) else { throw damaged("the end is none") }
        guard offset == size else {
            throw .damaged(path: path, offset: offset, detail: "\(size - offset) bytes stand behind the end")
        }
        guard trailer.revisions == found.revisions,
            trailer.records.allSatisfy({ found.records[$0.key, default: 0] == $0.value }),
            found.records.keys.allSatisfy({ trailer.records[$0] != nil })
        else { throw damaged("the counts at its end are not those of its entries") }
        return SnapshotSummary(
            header: header, format: SnapshotFormat.version, sizeInBytes: size, revisions: trailer.revisions,
            liveKeys: trailer.liveKeys, records: trailer.records, hash: trailer.hash)
    }

    /// The payload at hand is not what it should be.
    func damaged(_ detail: String) -> SnapshotError {
        .damaged(path: path, offset: payloadOffset, detail: detail)
    }
}

/// Takes bytes of a file in order, with the running checksum.
private struct FileBytes {
    let path: String
    let file: Int32
    let size: Int
    var offset = 0
    var checksum = CRC32C()

    /// Reads a block into `buffer` and checks it; gives its kind.
    mutating func readBlock(into buffer: inout [UInt8]) throws(SnapshotError) -> UInt8 {
        let start = offset
        try read(SnapshotFormat.blockHeadSize, into: &buffer)
        let kind = buffer[0]
        let count = buffer.dropFirst().reduce(0) { $0 << 8 | Int($1) }
        guard count <= SnapshotFormat.largestBlock else {
            throw .damaged(
                path: path, offset: start,
                detail: "a block of \(count) bytes is longer than any, of at most \(SnapshotFormat.largestBlock)")
        }
        try read(count, into: &buffer)
        let expected = checksum.value
        var stored: [UInt8] = []
        let covered = checksum
        try read(SnapshotFormat.checksumSize, into: &stored)
        checksum = covered
        guard stored.reduce(UInt32(0), { $0 << 8 | UInt32($1) }) == expected else {
            throw .damaged(path: path, offset: start, detail: "the checksum of what stands there is wrong")
        }
        return kind
    }

    /// Reads exactly `count` bytes in place of what `buffer` held.
    mutating func read(_ count: Int, into buffer: inout [UInt8]) throws(SnapshotError) {
        // Before memory is taken for it: a length that was damaged may say anything.
        guard count <= size - offset else { throw .truncated(path: path, size: size) }
        let (path, file, offset) = (self.path, self.file, self.offset)
        var failure: SnapshotError?
        buffer = [UInt8](unsafeUninitializedCapacity: count) { bytes, initialized in
            while initialized < count {
                let result = pread(
                    file, bytes.baseAddress.map { $0 + initialized }, count - initialized, offset + initialized)
                if result > 0 {
                    initialized += result
                } else if result == 0 {
                    failure = .truncated(path: path, size: offset + initialized)
                    return
                } else if errno != EINTR {
                    failure = .unreadable(path: path, errno: errno)
                    return
                }
            }
        }
        if let failure { throw failure }
        self.offset += count
        checksum.add(buffer)
    }
}
