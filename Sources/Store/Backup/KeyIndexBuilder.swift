import CLMDB
import ProtobufWire
import Vocabulary

/// Makes the index of keys anew from the history. Collects what the index has to say of each change, and writes it in the
/// order of the keys, a run at a time: the first run is appended, which is all there is up to some million changes; what
/// comes later is put in between, in order too.
struct KeyIndexBuilder {
    /// Bytes of a run in memory, at most about.
    static let runBytes = 192 << 20

    private struct Entry {
        /// The key's first bytes, so that most comparisons end here.
        var prefix: UInt64
        /// Where record and key stand.
        var offset: Int
        var keyCount: Int
    }

    private var entries: [Entry] = []
    /// For each entry its record, 40 bytes, and its key.
    private var bytes: [UInt8] = []
    private var isFirstRun = true

    var isFull: Bool { bytes.count + entries.count * MemoryLayout<Entry>.stride >= Self.runBytes }

    /// Takes a change in. Changes come in the order of their revisions.
    mutating func add(_ key: UnsafeRawBufferPointer, _ record: KeyRecord) {
        let offset = bytes.count
        withUnsafeTemporaryAllocation(byteCount: Layout.recordSize, alignment: 8) { place in
            guard let address = place.baseAddress else { return }
            Layout.store(record, at: address)
            bytes.append(contentsOf: place)
        }
        bytes.append(contentsOf: key)
        var prefix: UInt64 = 0
        withUnsafeMutableBytes(of: &prefix) { $0.copyMemory(from: UnsafeRawBufferPointer(rebasing: key.prefix(8))) }
        entries.append(Entry(prefix: UInt64(bigEndian: prefix), offset: offset, keyCount: key.count))
    }

    /// Writes the run, and begins a new one. `step` gives the transaction to write with, and is told of each entry's size.
    mutating func write(
        to base: Environment, _ step: (Int) throws(StoreError) -> OpaquePointer
    ) throws(StoreError) {
        let isFirst = isFirstRun
        isFirstRun = false
        try bytes.withRawBytes { bytes throws(StoreError) in
            func key(_ entry: Entry) -> UnsafeRawBufferPointer {
                let start = entry.offset + Layout.recordSize
                return UnsafeRawBufferPointer(rebasing: bytes[start..<(start + entry.keyCount)])
            }
            entries.sort { a, b in
                if a.prefix != b.prefix { return a.prefix < b.prefix }
                let order = compareBytes(key(a), key(b))
                return order == 0 ? a.offset < b.offset : order < 0
            }
            let scratch = Scratch()
            var previous: UnsafeRawBufferPointer?
            for entry in entries {
                let name = key(entry)
                let transaction = try step(entry.keyCount + Layout.recordSize)
                let tree = base.databases.keys
                var place = try LongKeys.make(name, in: tree, transaction, scratch: scratch.pointer)
                var value = MDB_val(
                    UnsafeRawBufferPointer(rebasing: bytes[entry.offset..<(entry.offset + Layout.recordSize)]))
                var flags: Int32 = 0
                // Only where nothing can stand behind: a bucket of long keys is at the end of the others by chance only.
                if isFirst, place.database == tree.short {
                    let isSame = previous.map { compareBytes($0, name) == 0 } ?? false
                    flags = isSame ? MDB_APPENDDUP : MDB_APPEND
                }
                previous = name
                try check(
                    mdb_put(transaction, place.database, &place.key, &value, UInt32(flags)), "mdb_put (index)")
            }
        }
        entries.removeAll(keepingCapacity: true)
        bytes.removeAll(keepingCapacity: true)
    }
}

extension KeyRecord {
    /// What the index says of a change, from the history's own bytes; nil when these are none.
    init?(
        _ revision: Revision, _ sub: UInt32, kind: UInt8, keyValue: UnsafeRawBufferPointer
    ) {
        var numbers: (create: Int64, mod: Int64, version: Int64, lease: Int64) = (0, 0, 0, 0)
        var reader = WireReader(keyValue)
        do {
            while let field = try reader.nextField() {
                switch field.field {
                case 2: numbers.create = Int64(bitPattern: try reader.varint(of: field))
                case 3: numbers.mod = Int64(bitPattern: try reader.varint(of: field))
                case 4: numbers.version = Int64(bitPattern: try reader.varint(of: field))
                case 6: numbers.lease = Int64(bitPattern: try reader.varint(of: field))
                default: try reader.skip(field)
                }
            }
        } catch {
            return nil
        }
        guard numbers.mod == revision.value else { return nil }
        self.init(
            createRevision: Revision(numbers.create), modRevision: revision, modSub: sub, version: numbers.version,
            lease: LeaseID(numbers.lease))
        switch kind {
        case Layout.liveKind:
            guard numbers.version > 0, (1...revision.value).contains(numbers.create) else { return nil }
        case Layout.tombstoneKind:
            guard numbers.version == 0, numbers.create == 0 else { return nil }
            isTombstone = true
        default: return nil
        }
    }
}
