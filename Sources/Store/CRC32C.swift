import CLMDB

/// CRC-32C (Castagnoli): by the processor's instruction where it has one, otherwise eight bytes a step by tables.
package struct CRC32C {
    private var state: UInt32 = 0xffff_ffff

    /// The checksum of nothing yet.
    package init() {}

    /// The checksum of everything added so far.
    package var value: UInt32 { ~state }

    private static let tables: [UInt32] = {
        var tables = [UInt32](repeating: 0, count: 8 * 256)
        for byte in 0..<256 {
            var entry = UInt32(byte)
            for _ in 0..<8 { entry = entry & 1 == 1 ? entry >> 1 ^ 0x82f6_3b78 : entry >> 1 }
            tables[byte] = entry
        }
        for index in 256..<tables.count {
            let previous = tables[index - 256]
            tables[index] = previous >> 8 ^ tables[Int(previous & 0xff)]
        }
        return tables
    }()

    private static let hasInstruction = berth_has_crc32c() != 0

    package mutating func add(_ bytes: UnsafeRawBufferPointer) {
        guard Self.hasInstruction else { return addByTables(bytes) }
        if let start = bytes.baseAddress { state = berth_crc32c(state, start, bytes.count) }
    }

    /// The same for processors without the instruction.
    mutating func addByTables(_ bytes: UnsafeRawBufferPointer) {
        var crc = state
        Self.tables.withUnsafeBufferPointer { table in
            var offset = 0
            while bytes.count - offset >= 8 {
                let word = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
                let mixed = word ^ UInt64(crc)
                crc = 0
                for byte in 0..<8 {
                    crc ^= table[(7 - byte) * 256 + Int(mixed >> UInt64(byte * 8) & 0xff)]
                }
                offset += 8
            }
            while offset < bytes.count {
                crc = crc >> 8 ^ table[Int((crc ^ UInt32(bytes[offset])) & 0xff)]
                offset += 1
            }
        }
        state = crc
    }

    package mutating func add(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { add($0) }
    }

    /// Adds a number as 8 big-endian bytes.
    mutating func add(_ number: UInt64) {
        withUnsafeBytes(of: number.bigEndian) { add($0) }
    }
}
