import ProtobufWire
import Store
package import Vocabulary

/// How leases and attachments lie in the store's tables.
///
/// A lease is its id, 8 bytes big-endian, with its granted time to live as 8 more. An attachment is the lease's id
/// followed by revision (8) and sub (4) of the write that made it, with the key as value: so a key of any length fits,
/// and a lease's attachments stand side by side.
package enum LeaseRecords {
    package static func leaseKey(_ id: LeaseID) -> [UInt8] { bigEndian(UInt64(bitPattern: id.value)) }

    package static func leaseValue(timeToLiveSeconds: Int64) -> [UInt8] {
        bigEndian(UInt64(bitPattern: timeToLiveSeconds))
    }

    static func attachmentKey(_ id: LeaseID, _ attachment: LeaseTable.Attachment) -> [UInt8] {
        leaseKey(id) + bigEndian(UInt64(bitPattern: attachment.revision.value)) + bigEndian(attachment.sub)
    }

    /// Fills the table with what base holds; entries replayed afterwards bring it up to date.
    static func load(_ table: LeaseTable, from store: Store) throws(StoreError) {
        try visitRecords(of: store, in: .leases) { (key, value) throws(StoreError) in
            guard key.count == 8, value.count == 8 else {
                throw .corrupt(
                    place: "leases", detail: "a record of \(key.count) and \(value.count) bytes, not 8 and 8")
            }
            table.grant(
                LeaseID(Int64(bitPattern: number(key[...]))),
                timeToLiveSeconds: Int64(bitPattern: number(value[...])))
        }
        try visitRecords(of: store, in: .leaseKeys) { (key, value) throws(StoreError) in
            guard key.count == 20 else {
                throw .corrupt(place: "lease_keys", detail: "a record name of \(key.count) bytes, not 20")
            }
            let attachment = LeaseTable.Attachment(
                revision: Revision(Int64(bitPattern: number(key[8..<16]))),
                sub: UInt32(truncatingIfNeeded: number(key[16..<20])))
            table.attach(value, to: LeaseID(Int64(bitPattern: number(key[..<8]))), attachment)
        }
    }

    private static func bigEndian(_ value: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: value.bigEndian) { Array($0) }
    }

    private static func number(_ bytes: ArraySlice<UInt8>) -> UInt64 {
        bytes.reduce(0) { $0 << 8 | UInt64($1) }
    }
}

/// Visits the records base holds, with the visitor's errors typed.
func visitRecords(
    of store: Store, in table: RecordTable, _ visit: ([UInt8], [UInt8]) throws(StoreError) -> Void
) throws(StoreError) {
    do {
        try store.forEachRecord(table) { key, value in try visit(key, value) }
    } catch let error as StoreError {
        throw error
    } catch {
        throw .corrupt(place: table.rawValue.description, detail: "\(error)")
    }
}
