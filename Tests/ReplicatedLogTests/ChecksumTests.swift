import CRaftHost
import TestSupport
import Testing

/// libraft's own, which the program never calls.
@_silgen_name("__real_byteCrc32")
private func checksumOfLibraft(_ bytes: UnsafeRawPointer?, _ count: Int, _ crc: UInt32) -> UInt32

/// The checksum of libraft's files, which old logs hold and newer ones must.
struct ChecksumTests {
    private func checksum(_ bytes: UnsafeRawBufferPointer, after start: UInt32 = 0) -> UInt32 {
        raft_host_checksum(bytes.baseAddress, bytes.count, start)
    }

    /// By its definition, a bit at a time.
    private func defined(_ bytes: some Sequence<UInt8>, after start: UInt32 = 0) -> UInt32 {
        var crc = start
        for byte in bytes {
            crc ^= UInt32(byte) << 24
            for _ in 0..<8 { crc = crc & 0x8000_0000 != 0 ? crc << 1 ^ 0x04c1_1db7 : crc << 1 }
        }
        return crc
    }

    @Test func `is the one that catalogs of checksums give a value of`() {
        // Of CRC-32/CKSUM, which inverts it at the end.
        Array("123456789".utf8).withUnsafeBytes { #expect(~checksum($0) == 0x765e_7680) }
    }

    @Test func `of nothing changes nothing`() {
        #expect(raft_host_checksum(nil, 0, 5) == 5)
    }

    @Test(arguments: Seeds.all) func `of every length and at every place is as defined, and libraft's`(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let bytes = (0..<200).map { _ in UInt8.random(in: 0...255, using: &random) }
        let start = UInt32.random(in: 0...UInt32.max, using: &random)
        bytes.withUnsafeBytes { all in
            for first in 0..<20 {
                for end in first...(first + 100) {
                    let part = UnsafeRawBufferPointer(rebasing: all[first..<end])
                    #expect(
                        checksum(part, after: start) == defined(part, after: start),
                        "\(bytes[first..<end]) after \(start)")
                    #expect(
                        checksum(part, after: start) == checksumOfLibraft(part.baseAddress, part.count, start))
                }
            }
        }
    }

    @Test func `in pieces is that of the whole`() {
        let bytes = (0..<1_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        bytes.withUnsafeBytes { all in
            let whole = checksum(all)
            for cut in 0...all.count {
                let first = checksum(UnsafeRawBufferPointer(rebasing: all[..<cut]))
                #expect(checksum(UnsafeRawBufferPointer(rebasing: all[cut...]), after: first) == whole)
            }
        }
    }
}
