import Glibc

/// A key where it stands in the request.
struct KeySlice: Hashable, Comparable {
    let bytes: UnsafeRawBufferPointer

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    static func == (a: KeySlice, b: KeySlice) -> Bool { compareBytes(a.bytes, b.bytes) == 0 }

    static func < (a: KeySlice, b: KeySlice) -> Bool { compareBytes(a.bytes, b.bytes) < 0 }

    func hash(into hasher: inout Hasher) { hasher.combine(bytes: bytes) }
}

extension [UInt8] {
    /// `withUnsafeBytes` that keeps the error's type.
    func withRawBytes<R, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> R
    ) throws(Failure) -> R {
        try withUnsafeBufferPointer { (buffer) throws(Failure) in try body(UnsafeRawBufferPointer(buffer)) }
    }
}

/// Bytewise order: negative, zero or positive.
func compareBytes(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Int {
    if let left = a.baseAddress, let right = b.baseAddress {
        let order = memcmp(left, right, min(a.count, b.count))
        if order != 0 { return Int(order) }
    }
    return a.count - b.count
}

extension Int64 {
    /// Negative, zero or positive, as `compareBytes`.
    func compared(to other: Int64) -> Int { self < other ? -1 : self > other ? 1 : 0 }
}
