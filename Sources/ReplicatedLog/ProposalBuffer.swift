internal import Glibc

/// One entry on its way into the log, in the memory that the log itself will write from and keep: bytes are copied once.
///
/// The value owns its memory: dropping it frees the memory, proposing it hands the memory over. Build it on any thread.
///
/// Layout: the kind byte, the payload, then one to eight padding bytes of which the last holds their number, because
/// libraft stores entries in whole 8-byte words and does not remember an entry's exact length.
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

/// How an entry of any length becomes one of whole 8-byte words, and back.
enum EntryPadding {
    /// Bytes as stored: always at least one more than given, a multiple of eight.
    static func storedCount(of count: Int) -> Int { (count + 8) & ~7 }

    /// Fills the bytes after the first `count`.
    static func write(into stored: UnsafeMutableRawBufferPointer, count: Int) {
        let padding = stored.count - count
        for offset in count..<stored.count { stored[offset] = 0 }
        stored[stored.count - 1] = UInt8(padding)
    }

    /// The entry without its padding; nil when these bytes were not made by `write`.
    static func strip(_ stored: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
        guard let last = stored.last, (1...8).contains(last), stored.count & 7 == 0, Int(last) < stored.count
        else { return nil }
        return UnsafeRawBufferPointer(rebasing: stored.dropLast(Int(last)))
    }
}
