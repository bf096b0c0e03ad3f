import Store

/// A key where it stands in the request.
struct KeySlice: Hashable, Comparable {
    let bytes: UnsafeRawBufferPointer

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    static func == (a: KeySlice, b: KeySlice) -> Bool { compareBytes(a.bytes, b.bytes) == 0 }

    static func < (a: KeySlice, b: KeySlice) -> Bool { compareBytes(a.bytes, b.bytes) < 0 }

    func hash(into hasher: inout Hasher) { hasher.combine(bytes: bytes) }
}

extension Int64 {
    /// Negative, zero or positive, as `compareBytes`.
    func compared(to other: Int64) -> Int { self < other ? -1 : self > other ? 1 : 0 }
}
