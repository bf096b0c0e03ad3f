#if canImport(Glibc)
    import Glibc
#endif

/// Where a file's bytes are read from.
public protocol BoltBytes {
    /// How many there are.
    var count: Int { get }
    /// Fills `buffer` with the bytes from `offset` on. Whoever asks stays within `count`.
    func read(at offset: Int, into buffer: UnsafeMutableRawBufferPointer) throws(BoltError)
}

extension [UInt8]: BoltBytes {
    /// Copies them.
    public func read(at offset: Int, into buffer: UnsafeMutableRawBufferPointer) throws(BoltError) {
        guard offset >= 0, offset <= count, buffer.count <= count - offset else { throw .unreadable(errno: EINVAL) }
        withUnsafeBytes {
            buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[offset..<offset + buffer.count]))
        }
    }
}

/// The first bytes of an open file, which stays the caller's.
public struct BoltDescriptor: BoltBytes {
    /// The file.
    public let descriptor: Int32
    /// Bytes of it that are the database.
    public let count: Int

    /// Names the file, and how much of it counts.
    public init(_ descriptor: Int32, count: Int) {
        self.descriptor = descriptor
        self.count = count
    }

    /// Reads until the buffer is full. A file that became shorter meanwhile is truncated.
    public func read(at offset: Int, into buffer: UnsafeMutableRawBufferPointer) throws(BoltError) {
        var done = 0
        while done < buffer.count {
            let result = pread(
                descriptor, buffer.baseAddress.map { $0 + done }, buffer.count - done, off_t(offset + done))
            if result > 0 {
                done += result
            } else if result == 0 {
                throw .truncated(size: offset + done, expected: UInt64(offset + buffer.count))
            } else if errno != EINTR {
                throw .unreadable(errno: errno)
            }
        }
    }
}
