import ProtobufWire

/// Keys to be written in one transaction.
package struct TransferBatch: Sendable {
    /// The answer they were read with.
    package let bytes: [UInt8]
    /// At least one.
    package let entries: [TransferPage.Entry]

    /// What must hold of the target for the transaction to write anything.
    package enum Precondition: Sendable {
        /// Nothing: keys that are there are overwritten.
        case none
        /// There is no key from the first to the last of these, which are neighbours in the source.
        case emptyRange
        /// None of these keys is there.
        case missingKeys
    }

    /// Operations a transaction may have, by both servers' defaults.
    package static let maxOperations = 128
    /// Bytes of a transaction. Servers take one and a half mebibytes unless told otherwise; a key that is larger goes
    /// alone.
    package static let maxBytes = 1 << 20

    /// These keys of an answer.
    package init(_ bytes: [UInt8], _ entries: [TransferPage.Entry]) {
        self.bytes = bytes
        self.entries = entries
    }

    /// Cuts entries of `page` into batches, in their order.
    package static func cut(_ page: TransferPage, _ entries: [TransferPage.Entry]) -> [TransferBatch] {
        var batches: [TransferBatch] = []
        var start = 0
        var size = 0
        for (position, entry) in entries.enumerated() {
            let cost = operationSize(entry)
            if position > start, position - start == maxOperations || size + cost > maxBytes {
                batches.append(TransferBatch(page.bytes, Array(entries[start..<position])))
                start = position
                size = 0
            }
            size += cost
        }
        if start < entries.count { batches.append(TransferBatch(page.bytes, Array(entries[start...]))) }
        return batches
    }

    /// Bytes of all keys and values.
    package var byteCount: Int { entries.reduce(0) { $0 + $1.byteCount } }

    /// Two halves; nil when there is but one key.
    package var halves: (TransferBatch, TransferBatch)? {
        guard entries.count > 1 else { return nil }
        let middle = entries.count / 2
        return (TransferBatch(bytes, Array(entries[..<middle])), TransferBatch(bytes, Array(entries[middle...])))
    }

    /// A key of this batch.
    package func key(_ position: Int) -> Bytes { Bytes(bytes[entries[position].key]) }

    /// The `etcdserverpb.TxnRequest`. When the precondition fails, the answer's reads name keys in the way.
    package func txn(_ precondition: Precondition) -> [UInt8] {
        var writer = WireWriter(capacity: entries.reduce(256) { $0 + Self.operationSize($1) + 2 * $1.key.count + 32 })
        bytes.withUnsafeBytes { bytes in
            let places = zip(entries.indices, entries).map { ($0.0, UnsafeRawBufferPointer(rebasing: bytes[$0.1.key])) }
            switch precondition {
            case .none: break
            case .emptyRange: Self.appendCompare(key: places[0].1, end: rangeEnd, to: &writer)
            case .missingKeys: for (_, key) in places { Self.appendCompare(key: key, end: [], to: &writer) }
            }
            for entry in entries { Self.append(entry, of: bytes, to: &writer) }
            switch precondition {
            case .none: break
            case .emptyRange: Self.appendRead(key: places[0].1, end: rangeEnd, to: &writer)
            case .missingKeys: for (_, key) in places { Self.appendRead(key: key, end: [], to: &writer) }
            }
        }
        return writer.bytes
    }

    /// The `etcdserverpb.PutRequest` of a batch of one.
    package var put: [UInt8] {
        var writer = WireWriter(capacity: Self.operationSize(entries[0]))
        bytes.withUnsafeBytes { Self.appendPut(entries[0], of: $0, to: &writer) }
        return writer.bytes
    }

    /// The first key past the last, nothing when there is one key alone.
    private var rangeEnd: [UInt8] { entries.count == 1 ? [] : key(entries.count - 1).successor.array }

    // MARK: Messages

    /// `Compare`: create_revision of a key or a range equals zero. Holds for a range without keys.
    private static func appendCompare(key: UnsafeRawBufferPointer, end: [UInt8], to writer: inout WireWriter) {
        writer.message(1) { writer in
            writer.int64Field(2, 1)
            writer.bytesField(3, key)
            writer.tag(5, .varint)
            writer.varint(0)
            writer.bytesField(64, end)
        }
    }

    /// `RequestOp` of the failure branch: the first key there is, without its value.
    private static func appendRead(key: UnsafeRawBufferPointer, end: [UInt8], to writer: inout WireWriter) {
        writer.message(3) { writer in
            writer.message(1) { writer in
                writer.bytesField(1, key)
                writer.bytesField(2, end)
                writer.int64Field(3, 1)
                writer.boolField(8, true)
            }
        }
    }

    /// `RequestOp` of the success branch. Lengths are known before, so nothing is moved.
    private static func append(
        _ entry: TransferPage.Entry, of bytes: UnsafeRawBufferPointer, to writer: inout WireWriter
    ) {
        let put = putSize(entry)
        writer.tag(2, .lengthDelimited)
        writer.varint(UInt64(1 + WireWriter.varintSize(UInt64(put)) + put))
        writer.tag(2, .lengthDelimited)
        writer.varint(UInt64(put))
        appendPut(entry, of: bytes, to: &writer)
    }

    private static func appendPut(
        _ entry: TransferPage.Entry, of bytes: UnsafeRawBufferPointer, to writer: inout WireWriter
    ) {
        writer.bytesField(1, UnsafeRawBufferPointer(rebasing: bytes[entry.key]))
        writer.bytesField(2, UnsafeRawBufferPointer(rebasing: bytes[entry.value]))
        writer.int64Field(3, entry.lease)
    }

    private static func putSize(_ entry: TransferPage.Entry) -> Int {
        let lease = entry.lease == 0 ? 0 : 1 + WireWriter.varintSize(UInt64(bitPattern: entry.lease))
        return fieldSize(entry.key.count) + fieldSize(entry.value.count) + lease
    }

    private static func fieldSize(_ count: Int) -> Int {
        count == 0 ? 0 : 1 + WireWriter.varintSize(UInt64(count)) + count
    }

    /// At most: two tags and lengths around the put.
    private static func operationSize(_ entry: TransferPage.Entry) -> Int { putSize(entry) + 12 }
}
