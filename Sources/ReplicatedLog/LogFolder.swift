internal import CRaft
internal import Glibc

/// The log's folder as seen from outside of libraft: what must be put right before it loads, and whose error is whose.
enum LogFolder {
    /// Makes the folder, for its owner only, unless it exists, and sees to it that its name survives a power cut. Synced
    /// in any case: who made it may have died before that.
    static func make(_ path: String) throws(ReplicatedLogError) {
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else {
            throw .directory(path: path, reason: "cannot be made: \(FileBytes.errorText)")
        }
        let parent = open("\(path)/..", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard parent >= 0 else {
            throw .directory(path: path, reason: "\(FileBytes.errorText); it must be a readable folder in one")
        }
        defer { close(parent) }
        guard fsync(parent) == 0 else { throw .io("sync \(path)/..: \(FileBytes.errorText)") }
    }

    static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 || errno != ENOENT }

    /// Cuts torn tails and closes open segments, as libraft would, but one after the other on the disk too, and each under the
    /// indices its entries carry. Cut off anywhere, it can be done again from the start.
    static func apply(_ repairs: [LogWalk.Repair], in path: String) throws(ReplicatedLogError) {
        guard !repairs.isEmpty else { return }
        for repair in repairs {
            switch repair {
            case .remove(let name):
                guard unlink("\(path)/\(name)") == 0 || errno == ENOENT else {
                    throw .io("remove \(path)/\(name): \(FileBytes.errorText)")
                }
            case .close(let name, let end, let closedName):
                let file = open("\(path)/\(name)", O_RDWR | O_CLOEXEC)
                guard file >= 0 else { throw .io("open \(path)/\(name): \(FileBytes.errorText)") }
                defer { close(file) }
                guard ftruncate(file, off_t(end)) == 0, fsync(file) == 0,
                    rename("\(path)/\(name)", "\(path)/\(closedName)") == 0
                else { throw .io("close \(path)/\(name): \(FileBytes.errorText)") }
                try sync(path)
            }
        }
        try sync(path)
    }

    private static func sync(_ path: String) throws(ReplicatedLogError) {
        let folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard folder >= 0 else { throw .io("open \(path): \(FileBytes.errorText)") }
        defer { close(folder) }
        guard fsync(folder) == 0 else { throw .io("sync \(path): \(FileBytes.errorText)") }
    }

    /// Whether the disk would take so many bytes more. Without asking, a log on a full disk would open, fail at its first
    /// new segment, and do so over and over. libraft removes files of this name, should one stay.
    static func checkRoom(_ path: String, bytes: Int) throws(ReplicatedLogError) {
        let name = "\(path)/tmp-room"
        unlink(name)
        let file = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw .io("make \(name): \(FileBytes.errorText)") }
        let code = posix_fallocate(file, 0, off_t(bytes))
        close(file)
        unlink(name)
        guard code == 0 else {
            throw .io("allocate \(bytes) bytes in \(path) for new segments: \(String(cString: strerror(code)))")
        }
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
