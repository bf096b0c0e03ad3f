import Glibc

// Memory that a process only seems to need: pages of the store's files that its maps took in. They stay in the system's
// cache when a map lets go of them, and come back, sixteen at a time, when they are read.
extension Environment {
    /// Lets go of what maps of the file have taken in. Others may go on reading; none of the maps may be replaced meanwhile.
    func forgetPages() {
        guard let resolved = realpath(path + "/data.mdb", nil) else { return }
        defer { free(resolved) }
        let path = String(cString: resolved)
        guard let file = fopen("/proc/self/maps", "re") else { return }
        defer { fclose(file) }
        var line: UnsafeMutablePointer<CChar>?
        var capacity = 0
        defer { free(line) }
        // LMDB does not tell where it has mapped the file.
        while getline(&line, &capacity, file) > 0, let text = line {
            guard let mapping = MemoryMapping(String(cString: text)), mapping.isShared, mapping.path == path else {
                continue
            }
            // Of a shared map, this only takes the pages out of the process's tables.
            madvise(UnsafeMutableRawPointer(bitPattern: mapping.start), mapping.size, MADV_DONTNEED)
        }
    }
}

/// A line of `/proc/self/maps`: addresses, permissions, offset, device, inode, path (proc_pid_maps(5)).
private struct MemoryMapping {
    let start: UInt
    let size: Int
    let isShared: Bool
    let path: Substring

    /// Nil for what has no path.
    init?(_ line: String) {
        let fields = line.split(separator: " ", maxSplits: 5, omittingEmptySubsequences: true)
        guard fields.count == 6 else { return nil }
        let ends = fields[0].split(separator: "-").compactMap { UInt($0, radix: 16) }
        guard ends.count == 2, ends[0] <= ends[1] else { return nil }
        start = ends[0]
        size = Int(ends[1] - ends[0])
        isShared = fields[1].hasSuffix("s")
        path = fields[5].drop { $0 == " " }.prefix { $0 != "\n" }
    }
}
