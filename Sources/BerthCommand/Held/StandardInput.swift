import Dispatch

#if canImport(Glibc)
    import Glibc
#endif

/// Standard input, read to its end.
enum StandardInput {
    /// Waits for the end, or for the task's cancellation.
    static func end() async {
        let (stream, feed) = AsyncStream.makeStream(of: Void.self)
        // Reading blocks. The thread ends with the input, or with the program.
        DispatchQueue(label: "standard input").async {
            var buffer = [UInt8](repeating: 0, count: 4096)
            while true {
                let count = read(STDIN_FILENO, &buffer, buffer.count)
                guard count > 0 || (count < 0 && errno == EINTR) else { break }
            }
            feed.finish()
        }
        for await _ in stream {}
    }

    /// Everything up to the end.
    static func bytes() -> [UInt8] { bytes(from: STDIN_FILENO) }

    /// Everything in a file.
    static func bytes(of file: String) throws(Failure) -> [UInt8] {
        let descriptor = open(file, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Failure("cannot read \(file): \(String(cString: strerror(errno)))") }
        defer { close(descriptor) }
        return bytes(from: descriptor)
    }

    private static func bytes(from descriptor: Int32) -> [UInt8] {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            if count > 0 {
                bytes += buffer.prefix(count)
            } else if count == 0 || errno != EINTR {
                return bytes
            }
        }
    }
}
