// The server's signed tokens bring Foundation into the build, and the compiler then takes the C library's `stat` for
// CoreFoundation's.
import CoreFoundation

#if canImport(Glibc)
    import Glibc
#endif

/// A file that a setting names.
struct WatchedFile: Hashable, Sendable {
    let path: String
    /// The setting that names it.
    let setting: String

    /// What changes when the file is written or replaced, also behind a symbolic link.
    struct Identity: Equatable, Sendable {
        private let device: UInt
        private let inode: UInt
        private let size: Int
        private let modified: [Int]
        private let changed: [Int]

        fileprivate init(_ status: stat) {
            device = UInt(status.st_dev)
            inode = UInt(status.st_ino)
            size = Int(status.st_size)
            modified = [status.st_mtim.tv_sec, status.st_mtim.tv_nsec]
            changed = [status.st_ctim.tv_sec, status.st_ctim.tv_nsec]
        }
    }

    /// Nil when there is no such file.
    var identity: Identity? {
        var status = stat()
        return stat(path, &status) == 0 ? Identity(status) : nil
    }

    private static let longest = 64 << 20

    /// The whole file, at most 64 MiB.
    func read() throws(SettingsError) -> [UInt8] {
        guard let file = fopen(path, "re") else { throw unreadable() }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = fread(&chunk, 1, chunk.count, file)
            bytes += chunk[..<count]
            guard bytes.count <= Self.longest else {
                throw SettingsError("\(setting): \(path) has more than \(Self.longest) bytes; expected a PEM file")
            }
            guard count < chunk.count else { continue }
            if ferror(file) != 0 { throw unreadable() }
            return bytes
        }
    }

    private func unreadable() -> SettingsError {
        SettingsError("\(setting): \(path) cannot be read: \(String(cString: strerror(errno)))")
    }
}
