import Glibc

/// `DIR/base`: opened when what is in it can be used, made when there is nothing.
struct BaseFolder {
    private let configuration: StoreConfiguration
    private let path: String

    init(_ configuration: StoreConfiguration) {
        self.configuration = configuration
        path = configuration.directory + "/base"
    }

    /// Looks at everything first: a base that is refused is left as it was.
    func open() throws(StoreError) -> (Environment, BaseContents) {
        if try isNew() { try create() }
        let pages = try BasePages(folder: path)
        pages.fault = configuration.sumsFault
        var contents: BaseContents?
        let base = try Environment(name: "base", kind: .base, path: path, mapSize: mapSize, pages: pages) {
            transaction throws(StoreError) in
            contents = try BaseContents(transaction, path: path, expected: configuration.expectedIdentity)
        }
        guard let contents else { throw .closed }
        return (base, contents)
    }

    private func isNew() throws(StoreError) -> Bool {
        for name in ["data.mdb", BasePages.fileName] {
            var status = stat()
            if stat(path + "/" + name, &status) == 0 { return false }
            guard errno == ENOENT else { throw .notWritable(path: path, errno: errno) }
        }
        return true
    }

    /// Makes base beside its place and moves it there, so that a crash leaves none or a whole one.
    private func create() throws(StoreError) {
        // An empty folder may be there, with LMDB's lock file at most.
        _ = unlink(path + "/lock.mdb")
        guard rmdir(path) == 0 || errno == ENOENT else {
            // A file system of its own, that can only be moved into.
            guard errno == EBUSY else { throw .notWritable(path: path, errno: errno) }
            return try createInside()
        }
        let new = path + ".new"
        try make(in: new)
        guard rename(new, path) == 0 else { throw .writing(path, errno) }
        try DataFolder.sync(configuration.directory)
    }

    private func createInside() throws(StoreError) {
        let new = path + "/new"
        try make(in: new)
        guard rename(new + "/data.mdb", path + "/data.mdb") == 0 else { throw .writing(path, errno) }
        try DataFolder.sync(path)
        _ = unlink(new + "/lock.mdb")
        _ = rmdir(new)
    }

    private func make(in folder: String) throws(StoreError) {
        try DataFolder.makeEmpty(folder)
        let base = try Environment(name: "base", kind: .base, path: folder, mapSize: mapSize)
        defer { base.close() }
        try BaseContents.create(in: base, expected: configuration.expectedIdentity)
        try DataFolder.sync(folder)
    }

    /// Twice what is there, so that a store that has outgrown the setting does not begin by growing.
    private var mapSize: Int {
        let size = max(configuration.baseMapBytes, DataFolder.fileSize(path + "/data.mdb") * 2)
        return size / Environment.pageSize * Environment.pageSize
    }
}
