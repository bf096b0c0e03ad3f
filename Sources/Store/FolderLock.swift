import Glibc

/// Keeps other processes, and a second store of this one, out of a data folder: an advisory lock on `DIR/lock`, with
/// the holder's process id as its text. The system lets go of it when the process ends, however it ends.
struct FolderLock: Sendable {
    private let file: Int32

    init(directory: String) throws(StoreError) {
        let path = directory + "/lock"
        file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw .notWritable(path: path, errno: errno) }
        while flock(file, LOCK_EX | LOCK_NB) != 0 {
            let code = errno
            if code == EINTR { continue }
            let holder = Self.holder(file)
            close(file)
            guard code == EWOULDBLOCK else { throw .notWritable(path: path, errno: code) }
            throw .heldByAnother(path: directory, pid: holder)
        }
        let text = Array("\(getpid())\n".utf8)
        guard ftruncate(file, 0) == 0, pwrite(file, text, text.count, 0) == text.count else {
            let code = errno
            release()
            throw .notWritable(path: path, errno: code)
        }
    }

    /// Keeps servers out while files are only looked at: makes nothing, and leaves the lock's text as it is.
    ///
    /// Nil when there is no lock file: then no server was ever here.
    init?(checking directory: String) throws(StoreError) {
        let path = directory + "/lock"
        file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else {
            if errno == ENOENT { return nil }
            throw .notWritable(path: path, errno: errno)
        }
        while flock(file, LOCK_EX | LOCK_NB) != 0 {
            let code = errno
            if code == EINTR { continue }
            let holder = Self.holder(file)
            close(file)
            guard code == EWOULDBLOCK else { throw .notWritable(path: path, errno: code) }
            throw .heldByAnother(path: directory, pid: holder)
        }
    }

    func release() {
        // Closing alone lets go when no copy of the descriptor is left, and a child that another thread has just forked
        // holds one until it runs its own program.
        _ = flock(file, LOCK_UN)
        close(file)
    }

    private static func holder(_ file: Int32) -> Int32? {
        var bytes = [UInt8](repeating: 0, count: 16)
        let count = pread(file, &bytes, bytes.count, 0)
        guard count > 0 else { return nil }
        return Int32(String(decoding: bytes[..<count].prefix { $0 != 10 }, as: UTF8.self))
    }
}
