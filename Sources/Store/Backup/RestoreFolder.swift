import Glibc

/// The data folder that a restore makes. The new base is built under a name that no server opens, and gets its own name
/// in the last step: a folder holds a whole restored store or none.
final class RestoreFolder {
    static let partialName = "base.partial"
    /// What base's files are called, the only ones that an earlier try can have left.
    private static let baseFiles = ["data.mdb", "lock.mdb"]

    private let directory: String
    private let isNew: Bool
    private let lock: FolderLock
    private var isFinished = false

    var partial: String { directory + "/" + Self.partialName }

    /// Refuses a data folder in which a restore was begun and not finished: a new store must not be made there by
    /// mistake.
    static func refuseUnfinished(_ directory: String) throws(StoreError) {
        var status = stat()
        let path = directory + "/" + partialName
        guard stat(path, &status) != 0 else {
            throw .corrupt(place: path, detail: "a restore into this folder was begun and not finished")
        }
    }

    /// Makes the folder, or takes an empty one, and keeps everybody else out of it.
    ///
    /// - Throws: why not; then the folder is byte for byte as it was.
    init(_ directory: String) throws(SnapshotError) {
        self.directory = directory
        // Set last, and nothing throws behind it: an init that throws with all properties set runs `deinit`, which would
        // take away what belongs to somebody else.
        (isNew, lock) = try Self.take(directory)
    }

    deinit {
        // After a failure everything goes that was made here. Whatever cannot be removed is met by the next try.
        guard !isFinished else { return lock.release() }
        try? Self.removeBase(partial)
        lock.undo()
        if isNew { rmdir(directory) }
    }

    private static func take(_ directory: String) throws(SnapshotError) -> (isNew: Bool, lock: FolderLock) {
        let isNew: Bool
        do throws(StoreError) {
            isNew = try DataFolder.make(directory)
        } catch {
            throw .store(error)
        }
        do throws(SnapshotError) {
            // Before anything is written: a folder that holds something is left alone, its `lock` too.
            _ = try hasStalePartial(directory)
            let lock: FolderLock
            do throws(StoreError) { lock = try FolderLock(unsigned: directory) } catch { throw .store(error) }
            do throws(SnapshotError) {
                try prepare(directory, lock)
            } catch {
                lock.undo()
                throw error
            }
            return (isNew, lock)
        } catch {
            if isNew { rmdir(directory) }
            throw error
        }
    }

    /// Makes the folder for base, now that nobody else is at work here.
    private static func prepare(_ directory: String, _ lock: FolderLock) throws(SnapshotError) {
        let partial = directory + "/" + partialName
        // Looked at once more: somebody may have come before the lock.
        if try hasStalePartial(directory) { try removeBase(partial) }
        guard mkdir(partial, 0o700) == 0 else { throw .notWritable(path: partial, errno: errno) }
        do throws(StoreError) {
            try lock.sign()
        } catch {
            rmdir(partial)
            throw .store(error)
        }
    }

    /// Refuses a folder that holds anything but what an earlier try left, and what file systems put into their own root.
    ///
    /// - Returns: whether an earlier try left a base. Nothing else is in that.
    private static func hasStalePartial(_ directory: String) throws(SnapshotError) -> Bool {
        var isStale = false
        for entry in try entries(directory) {
            switch entry {
            case "lost+found": break
            case FolderLock.name where FolderLock.made(directory + "/" + entry): break
            case partialName: isStale = true
            default: throw .notEmpty(path: directory, entry: entry)
            }
        }
        if isStale, let other = try entries(directory + "/" + partialName).first(where: { !baseFiles.contains($0) }) {
            throw .notEmpty(path: directory + "/" + partialName, entry: other)
        }
        return isStale
    }

    /// Gives base its name. Its environment must be closed.
    func finish() throws(SnapshotError) {
        unlink(partial + "/lock.mdb")
        do throws(StoreError) {
            try DataFolder.sync(partial)
            guard rename(partial, directory + "/base") == 0 else {
                throw .notWritable(path: directory + "/base", errno: errno)
            }
            isFinished = true
            try DataFolder.sync(directory)
        } catch {
            throw .store(error)
        }
    }

    private static func removeBase(_ path: String) throws(SnapshotError) {
        for entry in try entries(path) {
            guard unlink(path + "/" + entry) == 0 else { throw .notWritable(path: path + "/" + entry, errno: errno) }
        }
        guard rmdir(path) == 0 || errno == ENOENT else { throw .notWritable(path: path, errno: errno) }
    }

    private static func entries(_ path: String) throws(SnapshotError) -> [String] {
        guard let folder = opendir(path) else {
            if errno == ENOENT { return [] }
            throw .unreadable(path: path, errno: errno)
        }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }
}
