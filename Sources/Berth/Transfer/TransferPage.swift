package import ProtobufWire

/// Keys of a store as an answer brought them. The bytes stay as they came, and entries say where in them things stand:
/// a million keys are copied without a million small arrays.
package struct TransferPage: Sendable {
    /// One key: where it stands in the page's bytes, and what else is known of it.
    package struct Entry: Sendable, Hashable {
        /// Where the key is.
        package var key = 0..<0
        /// Where its value is.
        package var value = 0..<0
        /// The revision that created it.
        package var createRevision: Int64 = 0
        /// The lease it hangs on, zero for none.
        package var lease: Int64 = 0

        /// Bytes of key and value.
        package var byteCount: Int { key.count + value.count }
    }

    /// The answer.
    package let bytes: [UInt8]
    /// Its keys in the order they came.
    package let entries: [Entry]
    /// Whether the limit cut some off.
    package let more: Bool

    /// Takes an `etcdserverpb.RangeResponse`.
    package init(range bytes: [UInt8]) throws(WireError) {
        let parser = try bytes.withUnsafeBufferPointer { buffer throws(WireError) in
            var parser = Parser()
            try parser.range(UnsafeRawBufferPointer(buffer), at: 0)
            return parser
        }
        self.init(bytes, parser)
    }

    /// Takes an `etcdserverpb.TxnResponse`: the keys of all its reads.
    package init(txn bytes: [UInt8]) throws(WireError) {
        let parser = try bytes.withUnsafeBufferPointer { buffer throws(WireError) in
            var parser = Parser()
            try parser.txn(UnsafeRawBufferPointer(buffer))
            return parser
        }
        self.init(bytes, parser)
    }

    private init(_ bytes: [UInt8], _ parser: Parser) {
        self.bytes = bytes
        entries = parser.entries
        more = parser.more
    }

    /// An entry's key.
    package func key(of entry: Entry) -> Bytes { Bytes(bytes[entry.key]) }

    /// Bytes of all keys and values.
    package var byteCount: Int { entries.reduce(0) { $0 + $1.byteCount } }
}

/// Finds the entries. `base` is where a message stands in the whole answer.
private struct Parser {
    var entries: [TransferPage.Entry] = []
    var more = false

    mutating func range(_ message: UnsafeRawBufferPointer, at base: Int) throws(WireError) {
        var reader = WireReader(message)
        while let field = try reader.nextField() {
            switch field.field {
            case 2:
                let pair = try reader.bytes(of: field)
                entries.append(try Self.entry(pair, at: base + reader.offset - pair.count))
            case 3: more = try reader.bool(of: field)
            default: try reader.skip(field)
            }
        }
    }

    mutating func txn(_ message: UnsafeRawBufferPointer) throws(WireError) {
        var reader = WireReader(message)
        while let field = try reader.nextField() {
            guard field.field == 3 else {
                try reader.skip(field)
                continue
            }
            let operation = try reader.bytes(of: field)
            let base = reader.offset - operation.count
            var inner = WireReader(operation)
            while let field = try inner.nextField() {
                guard field.field == 1 else {
                    try inner.skip(field)
                    continue
                }
                let answer = try inner.bytes(of: field)
                try range(answer, at: base + inner.offset - answer.count)
            }
        }
    }

    private static func entry(
        _ message: UnsafeRawBufferPointer, at base: Int
    ) throws(WireError) -> TransferPage.Entry {
        var entry = TransferPage.Entry()
        var reader = WireReader(message)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: entry.key = try place(of: field, &reader, at: base)
            case 2: entry.createRevision = try reader.int64(of: field)
            case 5: entry.value = try place(of: field, &reader, at: base)
            case 6: entry.lease = try reader.int64(of: field)
            default: try reader.skip(field)
            }
        }
        return entry
    }

    private static func place(
        of field: (field: Int, type: WireType), _ reader: inout WireReader, at base: Int
    ) throws(WireError) -> Range<Int> {
        let slice = try reader.bytes(of: field)
        return (base + reader.offset - slice.count)..<(base + reader.offset)
    }
}
