import Glibc

/// The data folder that a restore makes. The new base is built under a name that no server opens, and gets its own name
/// in the last step: a folder holds a whole restored store or none.
final class RestoreFolder {
    static let partialName = "base.partial"
    /// What may stand in a folder all the same: a lock that an earlier try left, and what file systems put into their
    /// own root.
    private static let harmless = ["lock", "lost+found"]

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
    init(_ directory: String) throws(SnapshotError) {
        var status = stat()
        isNew = stat(directory, &status) != 0
        self.directory = directory
        do throws(StoreError) {
            try DataFolder.make(directory)
            lock = try FolderLock(directory: directory)
        } catch {
            throw .store(error)
        }
        do throws(SnapshotError) {
            for entry in try Self.entries(directory) where !Self.harmless.contains(entry) {
                // What an earlier try left: nobody else is at work, as the lock shows.
                guard entry == Self.partialName else { throw .notEmpty(path: directory, entry: entry) }
                try Self.removeBase(directory + "/" + entry)
            }
            guard mkdir(directory + "/" + Self.partialName, 0o700) == 0 else {
                throw .notWritable(path: directory + "/" + Self.partialName, errno: errno)
            }
        } catch {
            lock.release()
            throw error
        }
    }

    deinit {
        // After a failure everything goes that was made here. Whatever cannot be removed is met by the next try.
        if !isFinished {
            try? Self.removeBase(partial)
            if isNew { unlink(directory + "/lock") }
        }
        lock.release()
        if !isFinished, isNew { rmdir(directory) }
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
