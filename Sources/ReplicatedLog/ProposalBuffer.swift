internal import Glibc

/// One entry on its way into the log, in the memory that the log itself will write from and keep: bytes are copied once.
///
/// The value owns its memory: dropping it frees the memory, proposing it hands the memory over. Build it on any thread.
///
/// Layout: the kind byte, the payload, zeros up to a whole 8-byte word, and a word that tells how many zeros those are and the
/// entry's index in the log: libraft stores whole words, does not remember an entry's exact length, and nowhere on disk
/// says which index an open segment begins with.
public struct ProposalBuffer: ~Copyable, @unchecked Sendable {
    // @unchecked: the pointer has one owner at any time, and moves with the value.
    private let base: UnsafeMutableRawPointer
    /// Bytes the applier will see: the kind byte and the payload.
    public let count: Int

    /// One kind byte and a payload, copied.
    public init(kind: UInt8, payload: UnsafeRawBufferPointer) {
        self.init(kind: kind, payloadCount: payload.count) { $0.copyMemory(from: payload) }
    }

    /// One kind byte and a payload, copied.
    public init(kind: UInt8, payload: [UInt8]) {
        self.init(kind: kind, payloadCount: payload.count) { $0.copyBytes(from: payload) }
    }

    /// One kind byte and the parts one after the other, copied.
    public init(kind: UInt8, parts: [UnsafeRawBufferPointer]) {
        self.init(kind: kind, payloadCount: parts.reduce(0) { $0 + $1.count }) { payload in
            var rest = payload[...]
            for part in parts {
                UnsafeMutableRawBufferPointer(rebasing: rest).copyMemory(from: part)
                rest = rest.dropFirst(part.count)
            }
        }
    }

    /// One kind byte and a payload that `fill` writes in place. It must write every byte.
    public init(kind: UInt8, payloadCount: Int, fill: (UnsafeMutableRawBufferPointer) -> Void) {
        count = 1 + payloadCount
        let storedCount = EntryPadding.storedCount(of: count)
        // libraft frees entries with its heap's free, and Berth never replaces that heap: it is the C library's.
        guard let memory = malloc(storedCount) else { preconditionFailure("out of memory") }
        base = memory
        base.storeBytes(of: kind, as: UInt8.self)
        fill(UnsafeMutableRawBufferPointer(start: base + 1, count: payloadCount))
        EntryPadding.write(into: UnsafeMutableRawBufferPointer(start: base, count: storedCount), count: count)
    }

    deinit { free(base) }

    /// Gives the memory away; the receiver frees it with `free`.
    consuming func release() -> UnsafeMutableRawBufferPointer {
        let stored = UnsafeMutableRawBufferPointer(start: base, count: EntryPadding.storedCount(of: count))
        discard self
        return stored
    }
}

/// How an entry of any length becomes one of whole 8-byte words that knows its index, and back.
///
/// The last word, little-endian: the index in the low 56 bits, 0xB0 and the number of zeros before the word in the high 8.
enum EntryPadding {
    private static let mark: UInt64 = 0xb0
    private static let indexBits: UInt64 = 56

    /// Bytes as stored: a multiple of eight, and 8 to 15 more than given.
    static func storedCount(of count: Int) -> Int { (count + 7) & ~7 + 8 }

    /// Fills the bytes after the first `count`. The index is stamped later, when the log gives it out.
    static func write(into stored: UnsafeMutableRawBufferPointer, count: Int) {
        for offset in count..<stored.count { stored[offset] = 0 }
        stored[stored.count - 1] = UInt8(mark) | UInt8(stored.count - 8 - count)
    }

    /// Writes the index an entry is about to get.
    static func stamp(_ index: UInt64, into stored: UnsafeMutableRawBufferPointer) {
        let high = UInt64(stored[stored.count - 1]) << indexBits
        stored.storeBytes(of: (high | index).littleEndian, toByteOffset: stored.count - 8, as: UInt64.self)
    }

    /// The entry without its padding, and its index; nil when these bytes were not made by `write`.
    static func strip(_ stored: UnsafeRawBufferPointer) -> (entry: UnsafeRawBufferPointer, index: UInt64)? {
        guard stored.count >= 16, stored.count & 7 == 0 else { return nil }
        let word = stored.word(stored.count - 8)
        let high = word >> indexBits
        guard high & ~7 == mark else { return nil }
        let entry = UnsafeRawBufferPointer(rebasing: stored.dropLast(8 + Int(high & 7)))
        return (entry, word & (1 << indexBits - 1))
    }
}
