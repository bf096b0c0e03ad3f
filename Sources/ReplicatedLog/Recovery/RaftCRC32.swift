internal import CRaftHost

/// The checksum libraft puts before every batch: CRC-32 with the polynomial 0x04C11DB7, most significant bit first, begun at
/// zero and not inverted at the end. libraft is linked with the same code.
enum RaftCRC32 {
    /// - Parameter start: the checksum of what comes before these bytes.
    static func checksum(_ bytes: UnsafeRawBufferPointer, after start: UInt32 = 0) -> UInt32 {
        raft_host_checksum(bytes.baseAddress, bytes.count, start)
    }
}
