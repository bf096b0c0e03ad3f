internal import CRaft
internal import Glibc

/// The log's folder as seen from outside of libraft: what must be put right before it loads, and whose error is whose.
enum LogFolder {
    /// Makes the folder, for its owner only, unless it exists, and sees to it that its name survives a power cut. Synced
    /// in any case: who made it may have died before that.
    static func make(_ path: String) throws(ReplicatedLogError) {
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else {
            throw .directory(path: path, reason: "cannot be made: \(String(cString: strerror(errno)))")
        }
        let parent = open("\(path)/..", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard parent >= 0 else {
            throw .directory(
                path: path, reason: "\(String(cString: strerror(errno))); it must be a readable folder in one")
        }
        defer { close(parent) }
        guard fsync(parent) == 0 else { throw .io("sync \(path)/..: \(String(cString: strerror(errno)))") }
    }

    /// Makes open segments loadable whose last entry ends less than 16 bytes before the end of the file.
    ///
    /// After a crash libraft reads an open segment until it finds zeros; in such a file it meets the end first, and takes
    /// that for an I/O error. A block of zeros more at the end changes nothing else.
    static func prepare(_ path: String) throws(ReplicatedLogError) {
        guard let names = names(in: path) else {
            throw .directory(path: path, reason: "\(String(cString: strerror(errno))); it must exist and be writable")
        }
        for name in names where name.hasPrefix("open-") {
            let file = open("\(path)/\(name)", O_RDWR | O_CLOEXEC)
            guard file >= 0 else { throw .io("open \(name): \(String(cString: strerror(errno)))") }
            defer { Glibc.close(file) }
            let size = lseek(file, 0, SEEK_END)
            guard size > 0, tailIsUsed(file, size) else { continue }
            guard ftruncate(file, size + 4096) == 0, fdatasync(file) == 0 else {
                throw .io("extend \(name): \(String(cString: strerror(errno)))")
            }
        }
    }

    private static func tailIsUsed(_ file: Int32, _ size: off_t) -> Bool {
        var tail: UInt64 = 0
        var used = false
        for back in stride(from: off_t(8), through: 24, by: 8) where size >= back {
            if pread(file, &tail, 8, size - back) == 8, tail != 0 { used = true }
        }
        return used
    }

    /// Whether the log was bootstrapped but has no entry and no checkpoint.
    static func isEmpty(_ path: String) -> Bool {
        guard let names = names(in: path) else { return false }
        return !names.contains { $0.contains("-") }
    }

    private static func names(in path: String) -> [String]? {
        guard let folder = opendir(path) else { return nil }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            names.append(
                withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                })
        }
        return names
    }

    /// Sorts a libraft error from opening the log.
    static func error(_ path: String, _ code: Int32, _ io: UnsafeMutablePointer<raft_io>) -> ReplicatedLogError {
        let message = withUnsafePointer(to: &io.pointee.errmsg) {
            $0.withMemoryRebound(to: CChar.self, capacity: Int(RAFT_ERRMSG_BUF_SIZE)) { RaftMachine.message(code, $0) }
        }
        return switch code {
        case RAFT_NOTFOUND, RAFT_INVALID, RAFT_NAMETOOLONG, RAFT_UNAUTHORIZED: .directory(path: path, reason: message)
        case RAFT_CORRUPT, RAFT_MALFORMED: .corrupt(message)
        case RAFT_NOMEM, RAFT_TOOMANY: .resources(message)
        default: .io(message)
        }
    }
}
