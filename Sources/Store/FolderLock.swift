import Glibc

/// Keeps other processes, and a second store of this one, out of a data folder: an advisory lock on `DIR/lock`, with
/// the holder's process id as its text. The system lets go of it when the process ends, however it ends.
struct FolderLock: Sendable {
    static let name = "lock"
    /// Times that a lock file may be taken away under the one who locks it before that counts as held.
    private static let tries = 100

    private let directory: String
    private let file: Int32
    /// The lock file was not there before.
    private let isNew: Bool

    /// Locks, and says who holds.
    init(directory: String) throws(StoreError) {
        self = try Self(unsigned: directory)
        do throws(StoreError) {
            try sign()
        } catch {
            release()
            throw error
        }
    }

    /// Locks, and changes nothing of a lock file that is there: for who may yet refuse the folder.
    init(unsigned directory: String) throws(StoreError) {
        let path = directory + "/" + Self.name
        for _ in 0..<Self.tries {
            var file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
            let isNew = file >= 0
            if !isNew, errno == EEXIST { file = open(path, O_RDWR | O_CLOEXEC) }
            guard file >= 0 else {
                if errno == ENOENT { continue }
                throw .notWritable(path: path, errno: errno)
            }
            try Self.lock(file, directory)
            // Who refuses a folder takes the lock file it made away again: a lock on that keeps nobody out.
            guard Self.isNamed(file, path) else {
                close(file)
                continue
            }
            self.directory = directory
            self.file = file
            self.isNew = isNew
            return
        }
        throw .heldByAnother(path: directory, pid: nil)
    }

    /// Keeps servers out while files are only looked at: makes nothing, and leaves the lock's text as it is.
    ///
    /// Nil when there is no lock file: then no server was ever here.
    init?(checking directory: String) throws(StoreError) {
        let path = directory + "/" + Self.name
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else {
            if errno == ENOENT { return nil }
            throw .notWritable(path: path, errno: errno)
        }
        try Self.lock(file, directory)
        self.directory = directory
        self.file = file
        isNew = false
    }

    /// Whether a file is one that a lock made: nothing, or a process id and the end of its line.
    static func made(_ path: String) -> Bool {
        var status = stat()
        guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_size <= 16 else { return false }
        guard status.st_size > 0 else { return true }
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        guard file >= 0 else { return false }
        defer { close(file) }
        return holder(file).map { "\($0)\n".utf8.count == Int(status.st_size) } ?? false
    }

    /// Writes who holds.
    func sign() throws(StoreError) {
        let text = Array("\(getpid())\n".utf8)
        guard ftruncate(file, 0) == 0, pwrite(file, text, text.count, 0) == text.count else {
            throw .notWritable(path: directory + "/" + Self.name, errno: errno)
        }
    }

    /// Lets go, and takes a lock file away that was not there before.
    func undo() {
        if isNew { unlink(directory + "/" + Self.name) }
        release()
    }

    /// Locks, or closes the file.
    private static func lock(_ file: Int32, _ directory: String) throws(StoreError) {
        while flock(file, LOCK_EX | LOCK_NB) != 0 {
            let code = errno
            if code == EINTR { continue }
            let holder = Self.holder(file)
            close(file)
            guard code == EWOULDBLOCK else { throw .notWritable(path: directory + "/" + name, errno: code) }
            throw .heldByAnother(path: directory, pid: holder)
        }
    }

    func release() {
        // Closing alone lets go when no copy of the descriptor is left, and a child that another thread has just forked
        // holds one until it runs its own program.
        _ = flock(file, LOCK_UN)
        close(file)
    }

    private static func isNamed(_ file: Int32, _ path: String) -> Bool {
        var (opened, named) = (stat(), stat())
        return fstat(file, &opened) == 0 && stat(path, &named) == 0 && opened.st_dev == named.st_dev
            && opened.st_ino == named.st_ino
    }

    private static func holder(_ file: Int32) -> Int32? {
        var bytes = [UInt8](repeating: 0, count: 16)
        let count = pread(file, &bytes, bytes.count, 0)
        guard count > 0 else { return nil }
        return Int32(String(decoding: bytes[..<count].prefix { $0 != 10 }, as: UTF8.self))
    }
}
