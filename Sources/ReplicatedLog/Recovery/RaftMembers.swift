internal import CRaft

/// The servers of a configuration as libraft stores it, in entries of its own and in checkpoints: version 1 (one byte), how
/// many (8, little-endian), and of each its id (8), address (ended by a zero) and role (1); zeros up to a whole word.
enum RaftMembers {
    /// The ids of those that vote; nil when the bytes are no configuration.
    static func voters(in bytes: UnsafeRawBufferPointer) -> [UInt64]? {
        guard bytes.count >= 9, bytes[0] == 1 else { return nil }
        var voters: [UInt64] = []
        var offset = 9
        for _ in 0..<min(bytes.unalignedWord(1), UInt64(bytes.count)) {
            guard offset + 8 < bytes.count else { return nil }
            let id = bytes.unalignedWord(offset)
            guard let end = bytes[(offset + 8)...].firstIndex(of: 0), end + 1 < bytes.count else { return nil }
            if Int32(bytes[end + 1]) == Int32(RAFT_VOTER) { voters.append(id) }
            offset = end + 2
        }
        return voters
    }
}

extension UnsafeRawBufferPointer {
    fileprivate func unalignedWord(_ offset: Int) -> UInt64 {
        UInt64(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }
}
