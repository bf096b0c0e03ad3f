/// Puts entries together to blocks, and keeps the file's running checksum.
struct SnapshotEncoder {
    private var checksum = CRC32C()
    private var block: [UInt8] = []

    /// The bytes before the first block.
    mutating func preamble() -> [UInt8] {
        var bytes = BigEndianBytes(bytes: SnapshotFormat.magic)
        bytes.add(SnapshotFormat.version)
        checksum.add(bytes.bytes)
        return bytes.bytes
    }

    /// Begins a block. The one before must have been taken.
    mutating func begin(_ kind: SnapshotFormat.Kind) {
        precondition(block.isEmpty, "one block at a time")
        block.reserveCapacity(SnapshotFormat.blockBytes + 64 << 10)
        block.append(kind.rawValue)
        block.append(contentsOf: [0, 0, 0, 0])
    }

    /// Bytes of the open block's payload.
    var payloadSize: Int { max(0, block.count - SnapshotFormat.blockHeadSize) }

    var isFull: Bool { payloadSize >= SnapshotFormat.blockBytes }

    mutating func add(_ bytes: UnsafeRawBufferPointer) { block.append(contentsOf: bytes) }

    mutating func add(_ number: some FixedWidthInteger) {
        withUnsafeBytes(of: number.bigEndian) { block.append(contentsOf: $0) }
    }

    /// Closes the block and gives its bytes.
    mutating func take() -> [UInt8] {
        withUnsafeBytes(of: UInt32(payloadSize).bigEndian) { length in
            block.replaceSubrange(1..<SnapshotFormat.blockHeadSize, with: length)
        }
        checksum.add(block)
        add(checksum.value)
        defer { block = [] }
        return block
    }

    /// A whole block.
    mutating func block(_ kind: SnapshotFormat.Kind, _ payload: [UInt8]) -> [UInt8] {
        begin(kind)
        payload.withUnsafeBytes { add($0) }
        return take()
    }
}
