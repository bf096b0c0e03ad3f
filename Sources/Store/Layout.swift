import CLMDB
import ProtobufWire
import Vocabulary

/// How things stand in LMDB, byte by byte. The same in all layers, so that a flush copies and never converts.
///
/// - `revisions`: key = main revision (8 bytes, big-endian), sub (4); value = one kind byte, then the encoded
///   `mvccpb.KeyValue`.
/// - `keys`: key = user key, or a bucket's mark (`LongKeys`); values = `KeyRecord`s of 40 bytes, sorted by age:
///   mod main (8), mod sub (4), flags (4, 1 = tombstone), create (8), version (8), lease (8), all big-endian.
/// - young layers' `records`: key = table's number, record's key; value = 1 and the record, or 0 when it was removed.
enum Layout {
    static let formatVersion: UInt64 = 1
    static let recordSize = 40
    static let revisionKeySize = 12
    static let liveKind: UInt8 = 0
    static let tombstoneKind: UInt8 = 1

    /// Writes a revision's key, 12 bytes.
    @inline(__always)
    static func storeRevisionKey(_ main: Revision, _ sub: UInt32, at address: UnsafeMutableRawPointer) {
        address.storeBytes(of: UInt64(bitPattern: main.value).bigEndian, as: UInt64.self)
        address.storeBytes(of: sub.bigEndian, toByteOffset: 8, as: UInt32.self)
    }

    /// Reads a revision's key.
    @inline(__always)
    static func revision(of key: MDB_val, place: StaticString) throws(StoreError) -> (main: Revision, sub: UInt32) {
        guard key.mv_size == revisionKeySize, let address = key.mv_data else {
            throw .corrupt(place: "\(place)", detail: "a revision's key has \(key.mv_size) bytes")
        }
        return (
            Revision(Int64(bitPattern: UInt64(bigEndian: address.loadUnaligned(as: UInt64.self)))),
            UInt32(bigEndian: address.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
        )
    }

    /// Writes a key's record, 40 bytes.
    @inline(__always)
    static func store(_ record: KeyRecord, at address: UnsafeMutableRawPointer) {
        storeRevisionKey(record.modRevision, record.modSub, at: address)
        address.storeBytes(of: UInt32(record.isTombstone ? 1 : 0).bigEndian, toByteOffset: 12, as: UInt32.self)
        address.storeBytes(of: record.createRevision.value.bigEndian, toByteOffset: 16, as: Int64.self)
        address.storeBytes(of: record.version.bigEndian, toByteOffset: 24, as: Int64.self)
        address.storeBytes(of: record.lease.value.bigEndian, toByteOffset: 32, as: Int64.self)
    }

    /// The revision of a stored key record, which is its first field.
    @inline(__always)
    static func modRevision(of record: MDB_val) throws(StoreError) -> Revision {
        guard record.mv_size == recordSize, let address = record.mv_data else {
            throw .corrupt(place: "keys", detail: "a record has \(record.mv_size) bytes")
        }
        return Revision(Int64(bigEndian: address.loadUnaligned(as: Int64.self)))
    }

    /// Reads a key's record.
    @inline(__always)
    static func record(of value: MDB_val, layer: UInt8) throws(StoreError) -> KeyRecord {
        let revision = try modRevision(of: value)
        guard let address = value.mv_data else { throw .corrupt(place: "keys", detail: "a record without bytes") }
        func number(_ offset: Int) -> Int64 {
            Int64(bigEndian: address.loadUnaligned(fromByteOffset: offset, as: Int64.self))
        }
        var record = KeyRecord(
            createRevision: Revision(number(16)),
            modRevision: revision,
            modSub: UInt32(bigEndian: address.loadUnaligned(fromByteOffset: 8, as: UInt32.self)),
            version: number(24),
            lease: LeaseID(number(32)))
        record.isTombstone = address.loadUnaligned(fromByteOffset: 12, as: UInt32.self) != 0
        record.layer = layer
        return record
    }
}

/// An `mvccpb.KeyValue` to be encoded straight into LMDB's memory: sizes first, then the bytes.
struct KeyValueEncoding {
    let key: UnsafeRawBufferPointer
    let value: UnsafeRawBufferPointer
    let record: KeyRecord

    /// Bytes of the encoding, without the kind byte.
    @inline(__always)
    var size: Int {
        var size = Self.bytesSize(key)
        size += Self.numberSize(record.createRevision.value)
        size += Self.numberSize(record.modRevision.value)
        size += Self.numberSize(record.version)
        size += Self.bytesSize(value)
        size += Self.numberSize(record.lease.value)
        return size
    }

    /// Writes the fields in ascending order and leaves out those that are zero, as proto3 encoders do.
    @inline(__always)
    func write(to address: UnsafeMutableRawPointer) {
        var end = address
        Self.write(1, key, to: &end)
        Self.write(2, record.createRevision.value, to: &end)
        Self.write(3, record.modRevision.value, to: &end)
        Self.write(4, record.version, to: &end)
        Self.write(5, value, to: &end)
        Self.write(6, record.lease.value, to: &end)
    }

    /// The user key inside an encoded `KeyValue`: always its first field.
    static func key(of encoded: UnsafeRawBufferPointer) throws(StoreError) -> UnsafeRawBufferPointer {
        var reader = WireReader(encoded)
        do {
            if let field = try reader.nextField(), field.field == 1 { return try reader.bytes(of: field) }
        } catch {
            throw .corrupt(place: "revisions", detail: "a stored key-value is no protobuf message")
        }
        throw .corrupt(place: "revisions", detail: "a stored key-value does not begin with its key")
    }

    @inline(__always)
    private static func numberSize(_ value: Int64) -> Int {
        value == 0 ? 0 : 1 + WireWriter.varintSize(UInt64(bitPattern: value))
    }

    @inline(__always)
    private static func bytesSize(_ bytes: UnsafeRawBufferPointer) -> Int {
        bytes.isEmpty ? 0 : 1 + WireWriter.varintSize(UInt64(bytes.count)) + bytes.count
    }

    @inline(__always)
    private static func write(_ value: UInt64, to end: inout UnsafeMutableRawPointer) {
        var rest = value
        while rest >= 0x80 {
            end.storeBytes(of: UInt8(truncatingIfNeeded: rest) | 0x80, as: UInt8.self)
            end += 1
            rest >>= 7
        }
        end.storeBytes(of: UInt8(truncatingIfNeeded: rest), as: UInt8.self)
        end += 1
    }

    @inline(__always)
    private static func write(_ field: UInt64, _ value: Int64, to end: inout UnsafeMutableRawPointer) {
        guard value != 0 else { return }
        write(field << 3 | UInt64(WireType.varint.rawValue), to: &end)
        write(UInt64(bitPattern: value), to: &end)
    }

    @inline(__always)
    private static func write(_ field: UInt64, _ bytes: UnsafeRawBufferPointer, to end: inout UnsafeMutableRawPointer) {
        guard let source = bytes.baseAddress, !bytes.isEmpty else { return }
        write(field << 3 | UInt64(WireType.lengthDelimited.rawValue), to: &end)
        write(UInt64(bytes.count), to: &end)
        end.copyMemory(from: source, byteCount: bytes.count)
        end += bytes.count
    }
}

extension MDB_val {
    /// Bytes for LMDB to read during one call.
    @inline(__always)
    init(_ bytes: UnsafeRawBufferPointer) {
        self.init(mv_size: bytes.count, mv_data: UnsafeMutableRawPointer(mutating: bytes.baseAddress))
    }

    /// The bytes, valid as long as LMDB's.
    @inline(__always)
    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: mv_data, count: mv_size) }
}
