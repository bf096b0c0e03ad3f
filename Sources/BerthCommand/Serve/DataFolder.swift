#if canImport(Glibc)
    import Glibc
#endif

/// A first look at the folder that `--data-dir` names, before anything in it is opened or made.
struct DataFolder {
    let path: String

    init(_ path: String) { self.path = path }

    /// Whether there is anything in it.
    var holdsSomething: Bool {
        guard let folder = opendir(path) else { return false }
        defer { closedir(folder) }
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { names in
                names.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { return true }
        }
        return false
    }

    /// Whether an etcd keeps its data there: Berth's own beside it would look like an empty store to the operator.
    var isEtcds: Bool { access("\(path)/member/snap", F_OK) == 0 || access("\(path)/member/wal", F_OK) == 0 }
}
