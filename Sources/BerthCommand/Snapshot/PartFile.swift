// The server's signed tokens bring Foundation into the build, and the compiler then takes the C library's `stat` for
// CoreFoundation's.
import CoreFoundation

#if canImport(Glibc)
    import Glibc
#endif

/// A file that gets its name only when it is whole: written as NAME.part, and never over something that is there.
final class PartFile {
    let path: String
    var partPath: String { path + ".part" }
    /// Bytes written.
    private(set) var size = 0
    private let file: Int32
    private var isFinished = false
    private var unsynced = 0
    /// What is written goes to the disk in steps: one long sync at the end would hold up a server on the same disk.
    private static let syncStep = 8 << 20

    /// Begins the file.
    init(_ path: String) throws(Failure) {
        self.path = path
        // Set last, and nothing throws behind it: an init that throws with all properties set runs `deinit`, which
        // would take away a file that another process is writing.
        file = try Self.begin(path)
    }

    deinit {
        discard()
        close(file)
    }

    func write(_ bytes: [UInt8]) throws(Failure) {
        var written = 0
        while written < bytes.count {
            let result = bytes.withUnsafeBytes { buffer in
                Glibc.write(file, buffer.baseAddress.map { $0 + written }, buffer.count - written)
            }
            if result >= 0 {
                written += result
            } else if errno != EINTR {
                throw Self.failure("cannot write \(partPath)", errno)
            }
        }
        size += bytes.count
        unsynced += bytes.count
        guard unsynced >= Self.syncStep else { return }
        unsynced = 0
        guard fdatasync(file) == 0 else { throw Self.failure("cannot write \(partPath)", errno) }
    }

    /// Makes what was written durable.
    func sync() throws(Failure) {
        guard fsync(file) == 0 else { throw Self.failure("cannot write \(partPath)", errno) }
    }

    /// Gives the file its name, unless something else has that by now.
    func finish() throws(Failure) {
        // A link is refused when the name is taken; a rename would replace what is there.
        if link(partPath, path) == 0 {
            unlink(partPath)
        } else if errno == EEXIST {
            throw Self.exists(path)
        } else {
            // No links on this file system.
            guard access(path, F_OK) != 0 else { throw Self.exists(path) }
            guard rename(partPath, path) == 0 else { throw Self.failure("cannot rename \(partPath) to \(path)", errno) }
        }
        isFinished = true
        try syncFolder()
    }

    /// Takes away what is not finished. Harmless when repeated.
    func discard() {
        guard !isFinished else { return }
        isFinished = true
        unlink(partPath)
    }

    /// Opens the file to be written, empty and locked.
    private static func begin(_ path: String) throws(Failure) -> Int32 {
        guard access(path, F_OK) != 0 else { throw exists(path) }
        let part = path + ".part"
        let file = open(part, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw failure("cannot write \(part)", errno) }
        do throws(Failure) {
            // What an earlier try left is written over, but not what another process is writing now.
            guard flock(file, LOCK_EX | LOCK_NB) == 0 else {
                guard errno == EWOULDBLOCK else { throw failure("cannot lock \(part)", errno) }
                throw inUse(part)
            }
            // Nor what another process finished since it was opened here: that has its own name, and no other.
            var (opened, named) = (stat(), stat())
            guard fstat(file, &opened) == 0 else { throw failure("cannot read \(part)", errno) }
            guard stat(part, &named) == 0, opened.st_dev == named.st_dev, opened.st_ino == named.st_ino else {
                throw inUse(part)
            }
            guard opened.st_nlink == 1 else {
                throw Failure("\(part) has another name too, and is not written over; remove it")
            }
            guard ftruncate(file, 0) == 0 else { throw failure("cannot write \(part)", errno) }
        } catch {
            close(file)
            throw error
        }
        return file
    }

    private func syncFolder() throws(Failure) {
        let folder = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Self.failure("cannot open \(folder)", errno) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw Self.failure("cannot sync \(folder)", errno) }
    }

    private static func exists(_ path: String) -> Failure {
        Failure("\(path) exists already and is not overwritten; name another file")
    }

    private static func inUse(_ part: String) -> Failure {
        Failure("another process is writing \(part); wait for it or name another file")
    }

    private static func failure(_ what: String, _ code: Int32) -> Failure {
        Failure("\(what): \(String(cString: strerror(code)))")
    }
}
