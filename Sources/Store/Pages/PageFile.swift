import Glibc
import Synchronization

/// LMDB's data file, mapped for reading only, for any thread. Shares its memory with LMDB's own mapping.
///
/// Page numbers come from the file itself and may be anything, so each one is held against the file's length first. The
/// mapping is made larger as the file grows; earlier ones stay until the end, as somebody may be reading through them.
final class PageFile: Sendable {
    static let pageSize = Environment.pageSize

    let path: String
    private let descriptor: Int32
    private let address = Atomic<UInt>(0)
    private let wholePages = Atomic<Int>(0)
    private let mappings = Monitor<[(address: UnsafeMutableRawPointer, size: Int)]>([])

    /// - Throws: `notWritable` when the file cannot be opened, `corrupt` when it is no file.
    init(path: String) throws(StoreError) {
        self.path = path
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .notWritable(path: path, errno: errno) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            let code = errno
            close(descriptor)
            throw .notWritable(path: path, errno: code)
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw .corrupt(place: path, detail: "not a regular file")
        }
    }

    deinit {
        mappings.withLock { mappings in
            for mapping in mappings { munmap(mapping.address, mapping.size) }
        }
        close(descriptor)
    }

    /// Whole pages in the file when it was last looked at.
    var pageCount: Int { wholePages.load(ordering: .acquiring) }

    /// The bytes of some pages that follow each other.
    ///
    /// - Throws: `corrupt` when the file ends before.
    func bytes(_ page: UInt64, count: Int = 1) throws(StoreError) -> UnsafeRawBufferPointer {
        guard page < 1 << 44, count > 0, count < 1 << 32 else { throw Self.damage(page, "no such page can be") }
        let end = Int(page) + count
        if end > pageCount { try refresh() }
        guard end <= pageCount, let start = UnsafeRawPointer(bitPattern: address.load(ordering: .acquiring)) else {
            throw Self.damage(page, "the file ends at page \(pageCount)")
        }
        return UnsafeRawBufferPointer(
            start: start + Int(page) * Self.pageSize, count: count * Self.pageSize)
    }

    /// A page with its header checked.
    func page(_ number: UInt64) throws(StoreError) -> Page { try Page(number, try bytes(number)) }

    /// Takes notice of the file's present length.
    func refresh() throws(StoreError) {
        let failure = mappings.withLock { mappings -> StoreError? in
            var status = stat()
            guard fstat(descriptor, &status) == 0 else { return .notWritable(path: path, errno: errno) }
            let length = Int(status.st_size)
            if length > mappings.last?.size ?? 0 {
                let size = max(1 << 26, length * 2) / Self.pageSize * Self.pageSize
                guard let mapped = mmap(nil, size, PROT_READ, MAP_SHARED | MAP_NORESERVE, descriptor, 0),
                    mapped != MAP_FAILED
                else { return .mapLost(path: path, code: errno) }
                mappings.append((mapped, size))
                address.store(UInt(bitPattern: mapped), ordering: .releasing)
            }
            wholePages.store(length / Self.pageSize, ordering: .releasing)
            return nil
        }
        if let failure { throw failure }
    }

    /// Lets go of the memory that this mapping has taken in. It stays in the system's cache, for LMDB; but the process
    /// would seem to need it twice. Anybody may go on reading.
    func forgetPages() {
        mappings.withLock { mappings in
            for mapping in mappings { madvise(mapping.address, mapping.size, MADV_DONTNEED) }
        }
    }

    static func damage(_ page: UInt64, _ detail: String) -> StoreError {
        .corrupt(place: "base page \(page)", detail: detail)
    }
}
