/// The checksum libraft puts before every batch: CRC-32 with the polynomial 0x04C11DB7, most significant bit first, begun at
/// zero and not inverted at the end. Eight bytes a step by tables.
enum RaftCRC32 {
    private static let tables: [UInt32] = {
        var tables = [UInt32](repeating: 0, count: 8 * 256)
        for byte in 0..<256 {
            var entry = UInt32(byte) << 24
            for _ in 0..<8 { entry = entry & 0x8000_0000 != 0 ? entry << 1 ^ 0x04c1_1db7 : entry << 1 }
            tables[byte] = entry
        }
        for position in 256..<tables.count {
            let previous = tables[position - 256]
            tables[position] = previous << 8 ^ tables[Int(previous >> 24)]
        }
        return tables
    }()

    /// - Parameter start: the checksum of what comes before these bytes.
    static func checksum(_ bytes: UnsafeRawBufferPointer, after start: UInt32 = 0) -> UInt32 {
        tables.withUnsafeBufferPointer { table in
            var crc = start
            var offset = 0
            while bytes.count - offset >= 8 {
                let word = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
                let mixed = word ^ UInt64(crc) << 32
                crc = table[Int(mixed & 0xff)]
                for step in 1..<8 { crc ^= table[step * 256 + Int(mixed >> UInt64(step * 8) & 0xff)] }
                offset += 8
            }
            while offset < bytes.count {
                crc = crc << 8 ^ table[Int(crc >> 24 ^ UInt32(bytes[offset]))]
                offset += 1
            }
            return crc
        }
    }
}
