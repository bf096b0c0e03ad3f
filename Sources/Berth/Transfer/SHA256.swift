/// SHA-256, for the hash of a store's keys that anyone can compute anew. Source: FIPS 180-4, sections 5.3.3 and 6.2.
package struct SHA256: Sendable {
    private var state: [UInt32] = [
        0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
    ]
    private var schedule = [UInt32](repeating: 0, count: 64)
    /// Bytes that do not fill a block yet; fewer than 64.
    private var rest: [UInt8] = []
    private var length: UInt64 = 0

    /// The hash of nothing yet.
    package init() { rest.reserveCapacity(128) }

    /// Takes more bytes in.
    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        length += UInt64(bytes.count)
        var position = 0
        if !rest.isEmpty {
            position = min(64 - rest.count, bytes.count)
            rest.append(contentsOf: bytes[..<position])
            guard rest.count == 64 else { return }
            let block = rest
            rest.removeAll(keepingCapacity: true)
            block.withUnsafeBytes { compress($0) }
        }
        while bytes.count - position >= 64 {
            compress(UnsafeRawBufferPointer(rebasing: bytes[position..<position + 64]))
            position += 64
        }
        rest.append(contentsOf: bytes[position...])
    }

    /// Takes a number in, as eight bytes, the highest first.
    package mutating func update(_ number: UInt64) {
        withUnsafeBytes(of: number.bigEndian) { update($0) }
    }

    /// The 32 bytes of the hash of all that was taken in.
    package func digest() -> [UInt8] {
        var last = self
        let bits = length * 8
        let zeros = (119 - Int(length % 64)) % 64
        ([0x80] + [UInt8](repeating: 0, count: zeros)).withUnsafeBytes { last.update($0) }
        last.update(bits)
        return last.state.flatMap { word in withUnsafeBytes(of: word.bigEndian) { Array($0) } }
    }

    private mutating func compress(_ block: UnsafeRawBufferPointer) {
        state.withUnsafeMutableBufferPointer { state in
            schedule.withUnsafeMutableBufferPointer { words in
                for position in 0..<16 {
                    words[position] = UInt32(
                        bigEndian: block.loadUnaligned(fromByteOffset: position * 4, as: UInt32.self))
                }
                for position in 16..<64 {
                    let (early, late) = (words[position - 15], words[position - 2])
                    let low = Self.rotated(early, 7) ^ Self.rotated(early, 18) ^ (early >> 3)
                    let high = Self.rotated(late, 17) ^ Self.rotated(late, 19) ^ (late >> 10)
                    words[position] = words[position - 16] &+ low &+ words[position - 7] &+ high
                }
                Self.rounds(state, words)
            }
        }
    }

    private static func rounds(_ state: UnsafeMutableBufferPointer<UInt32>, _ words: UnsafeMutableBufferPointer<UInt32>)
    {
        var (a, b, c, d) = (state[0], state[1], state[2], state[3])
        var (e, f, g, h) = (state[4], state[5], state[6], state[7])
        constants.withUnsafeBufferPointer { constants in
            for position in 0..<64 {
                let mixed = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)
                let first = h &+ mixed &+ ((e & f) ^ (~e & g)) &+ constants[position] &+ words[position]
                let second =
                    (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) &+ ((a & b) ^ (a & c) ^ (b & c))
                (h, g, f, e) = (g, f, e, d &+ first)
                (d, c, b, a) = (c, b, a, first &+ second)
            }
        }
        for (position, value) in [a, b, c, d, e, f, g, h].enumerated() { state[position] &+= value }
    }

    @inline(__always)
    private static func rotated(_ word: UInt32, _ count: UInt32) -> UInt32 { (word >> count) | (word << (32 - count)) }

    private static let constants: [UInt32] = [
        0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
        0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
        0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
        0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
        0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
        0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
        0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
        0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
    ]
}
