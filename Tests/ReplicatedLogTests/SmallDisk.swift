import Glibc

/// A file system of a given size, mounted for one test and unmounted with the value.
final class SmallDisk {
    enum Kind: CaseIterable {
        /// In memory: libraft writes through the page cache.
        case tmpfs
        /// On a loop device: libraft writes directly.
        case ext4
    }

    private let folder = TestFolder()
    private let kind: Kind
    private let imagePath: String
    var path: String { folder.path }

    /// What this process may mount.
    static let possible: [Kind] = Kind.allCases.filter(isPossible)

    static func isPossible(_ kind: Kind) -> Bool { SmallDisk(kind, mebibytes: 16) != nil }

    init?(_ kind: Kind, mebibytes: Int) {
        self.kind = kind
        imagePath = folder.path + ".img"
        switch kind {
        case .tmpfs:
            guard mount("tmpfs", folder.path, "tmpfs", 0, "size=\(mebibytes << 20),nr_inodes=200") == 0 else {
                return nil
            }
        case .ext4:
            let file = open(imagePath, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
            guard file >= 0 else { return nil }
            let isMade = ftruncate(file, off_t(mebibytes << 20)) == 0
            close(file)
            guard isMade, Self.run("/sbin/mkfs.ext4", "-q", "-m", "0", imagePath),
                Self.run("/bin/mount", "-o", "loop", imagePath, folder.path)
            else {
                unlink(imagePath)
                return nil
            }
        }
    }

    deinit {
        umount2(path, Int32(MNT_DETACH))
        unlink(imagePath)
    }

    private static func run(_ command: String...) -> Bool {
        var process = pid_t()
        var arguments = command.map { strdup($0) } + [nil]
        defer { for argument in arguments { Glibc.free(argument) } }
        guard posix_spawn(&process, command[0], nil, nil, &arguments, environ) == 0 else { return false }
        var status: Int32 = 0
        while waitpid(process, &status, 0) < 0, errno == EINTR {}
        return status == 0
    }

    /// Takes every free byte. Repeatable.
    func fill() -> Bool {
        let file = open("\(path)/ballast", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard file >= 0 else { return false }
        defer { close(file) }
        let block = [UInt8](repeating: 1, count: 4_096)
        while write(file, block, block.count) == block.count {}
        let isFull = errno == ENOSPC
        // Blocks given out late are given out now.
        return fsync(file) == 0 && isFull
    }

    func free() { unlink("\(path)/ballast") }

    /// No file can be made any more; those there still take bytes.
    func takeAllNames() {
        for number in 0..<100_000 {
            let file = open("\(path)/ballast-\(number)", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
            guard file >= 0 else { return }
            close(file)
        }
    }

    func giveNamesBack() {
        for name in TestFolder.names(in: path) where name.hasPrefix("ballast") { unlink("\(path)/\(name)") }
    }
}
