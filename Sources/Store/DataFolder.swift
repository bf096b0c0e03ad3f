import Glibc

/// The folders of a store.
enum DataFolder {
    /// Makes a folder, readable by its owner only, unless it exists.
    ///
    /// - Returns: whether it was made.
    @discardableResult
    static func make(_ path: String) throws(StoreError) -> Bool {
        let isNew = mkdir(path, 0o700) == 0
        if isNew {
            // The new name must survive a power cut. A parent that may not be read cannot be synced from here; the
            // file system then writes the name with the first sync inside.
            try? sync(path + "/..")
        } else {
            let code = errno
            switch code {
            case EEXIST: break
            case ENOENT, ENOTDIR: throw .folderMissing(path: path)
            default: throw .notWritable(path: path, errno: code)
            }
        }
        var status = stat()
        guard stat(path, &status) == 0 else { throw .notWritable(path: path, errno: errno) }
        guard status.st_mode & S_IFMT == S_IFDIR else { throw .notAFolder(path: path) }
        guard access(path, R_OK | W_OK | X_OK) == 0 else { throw .notWritable(path: path, errno: errno) }
        return isNew
    }

    /// Makes a folder without LMDB's files in it.
    static func makeEmpty(_ path: String) throws(StoreError) {
        try make(path)
        for name in ["data.mdb", "lock.mdb"] {
            let file = path + "/" + name
            guard unlink(file) == 0 || errno == ENOENT else { throw .notWritable(path: file, errno: errno) }
        }
    }

    /// Makes new names in folders survive a power cut.
    static func sync(_ paths: String...) throws(StoreError) {
        for path in paths {
            let folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            guard folder >= 0 else { throw .notWritable(path: path, errno: errno) }
            defer { close(folder) }
            guard fsync(folder) == 0 else { throw .writing(path, errno) }
        }
    }

    static func fileSize(_ path: String) -> Int {
        var status = stat()
        return stat(path, &status) == 0 ? Int(status.st_size) : 0
    }
}
