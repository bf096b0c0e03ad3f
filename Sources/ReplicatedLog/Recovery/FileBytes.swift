internal import Glibc

/// Files of the log are read whole, not mapped, so that an unreadable sector is an error and no signal.
enum FileBytes {
    /// Calls `body` with all bytes of a file, which are gone when it returns.
    static func read<Result>(
        _ path: String, _ body: (UnsafeRawBufferPointer) -> Result
    ) throws(ReplicatedLogError) -> Result {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw .io("open \(path): \(errorText)") }
        defer { close(file) }
        var status = stat()
        guard fstat(file, &status) == 0 else { throw .io("look at \(path): \(errorText)") }
        let count = Int(status.st_size)
        let memory = UnsafeMutableRawPointer.allocate(byteCount: max(count, 8), alignment: 8)
        defer { memory.deallocate() }
        var offset = 0
        while offset < count {
            let got = pread(file, memory + offset, count - offset, off_t(offset))
            if got < 0, errno == EINTR { continue }
            guard got > 0 else {
                throw .io("read \(path) at byte \(offset): \(got == 0 ? "it became shorter" : errorText)")
            }
            offset += got
        }
        return body(UnsafeRawBufferPointer(start: memory, count: count))
    }

    static var errorText: String { String(cString: strerror(errno)) }
}

extension UnsafeRawBufferPointer {
    func word(_ offset: Int) -> UInt64 { UInt64(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt64.self)) }

    func halfWord(_ offset: Int) -> UInt32 {
        UInt32(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    /// Whether bytes of a range are all zero. Bounds must lie inside.
    func isZero(_ range: Range<Int>) -> Bool {
        var offset = range.lowerBound
        while offset + 8 <= range.upperBound {
            if loadUnaligned(fromByteOffset: offset, as: UInt64.self) != 0 { return false }
            offset += 8
        }
        while offset < range.upperBound {
            if self[offset] != 0 { return false }
            offset += 1
        }
        return true
    }

    /// Behind the last byte that is not zero, looking no further down than `start`.
    func usedEnd(from start: Int) -> Int {
        var end = count
        while end & 7 != 0, end > start, self[end - 1] == 0 { end -= 1 }
        while end - 8 >= start, end & 7 == 0, loadUnaligned(fromByteOffset: end - 8, as: UInt64.self) == 0 { end -= 8 }
        while end > start, self[end - 1] == 0 { end -= 1 }
        return end
    }
}
