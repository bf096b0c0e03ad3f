import CLMDB
import Glibc
import Measures
import Synchronization

/// One LMDB environment with its databases. Owns LMDB's pointers; nothing outside this module sees one.
///
/// LMDB's environment may be used from any thread. A transaction made here belongs to whoever asked for it.
final class Environment: Sendable {
    enum Kind: Sendable {
        /// Durable when a transaction is committed.
        case base
        /// Memory with a file behind it: never flushed, and on disk in full, as a store into a mapped hole of a full
        /// disk would kill the process.
        case young
    }

    /// `OpaquePointer` is not Sendable; this one is set once and LMDB guards what is behind it.
    nonisolated(unsafe) let pointer: OpaquePointer
    let name: String
    let kind: Kind
    let path: String
    let databases: Databases
    /// Base's guard against damaged pages; young layers, which begin empty, have none.
    let pages: BasePages?
    /// Times of the commits that `write` made.
    let commitTimes = Histogram.seconds(Histogram.doubling(0.001, count: 14))
    /// Bytes of address space. LMDB's own number must not be asked for while another thread may make the map larger.
    private let mapBytes: Atomic<Int>
    /// The map went away while it should grow. Nothing may touch it any more, LMDB's closing included.
    private let isLost = Atomic<Bool>(false)

    /// Handles, the same for all transactions.
    struct Databases: Sendable {
        var meta: MDB_dbi = 0
        var revisions: MDB_dbi = 0
        var keys = Tree()
        /// In a young layer all tables are one tree; in base each has its own.
        var records: [Tree] = []
    }

    /// A database and the one its long keys overflow into.
    struct Tree: Sendable {
        var short: MDB_dbi = 0
        var long: MDB_dbi = 0
        /// Of base's trees: what looks at their pages.
        var pages: BasePages?
    }

    /// Opens the environment in the existing folder `path`, creates its files when absent.
    ///
    /// - Parameters:
    ///   - pages: has examined base's files already.
    ///   - examine: may refuse what base holds, in a read transaction, before anything is written.
    init(
        name: String, kind: Kind, path: String, mapSize: Int, pages: BasePages? = nil,
        examine: (OpaquePointer) throws(StoreError) -> Void = { _ in }
    ) throws(StoreError) {
        var opened: OpaquePointer?
        try check(mdb_env_create(&opened), "mdb_env_create")
        guard let pointer = opened else { throw .from(ENOMEM, "mdb_env_create") }
        do throws(StoreError) {
            try check(mdb_env_set_maxdbs(pointer, 16), "mdb_env_set_maxdbs")
            // Room for a read transaction of every event loop, pool thread and request in flight.
            try check(mdb_env_set_maxreaders(pointer, 1_024), "mdb_env_set_maxreaders")
            var flags = UInt32(MDB_NOTLS | MDB_NOMEMINIT)
            if kind == .young { flags |= UInt32(MDB_NOSYNC | MDB_NOMETASYNC | MDB_WRITEMAP) }
            try Self.openFiles(pointer, path: path, flags: flags, mapSize: mapSize)
            switch kind {
            case .young: try Self.allocate(path: path + "/data.mdb", size: mapSize)
            case .base: try Self.reading(pointer, examine)
            }
            if kind == .base, let present = try Self.openDatabases(pointer, kind: kind, pages, making: false) {
                databases = present
                // Sums that are a transaction behind can wait for the next one: a start that the log still refuses then
                // has overwritten nothing.
                try pages?.makeFileIfMissing()
            } else {
                try pages?.catchUp()
                guard let made = try Self.openDatabases(pointer, kind: kind, pages, making: true) else {
                    throw .from(MDB_NOTFOUND, "mdb_dbi_open")
                }
                databases = made
                try pages?.catchUp()
            }
        } catch {
            mdb_env_close(pointer)
            throw error
        }
        self.pointer = pointer
        self.name = name
        self.kind = kind
        self.path = path
        self.pages = pages
        mapBytes = Atomic(mapSize)
    }

    /// Only after every transaction has ended. A lost map is left to the process's end.
    func close() {
        if !isLost.load(ordering: .acquiring) { mdb_env_close(pointer) }
    }

    /// A read transaction, to be aborted by the caller.
    func beginRead() throws(StoreError) -> OpaquePointer {
        try begin(UInt32(MDB_RDONLY), "mdb_txn_begin (read)")
    }

    /// The write transaction; waits for another one to end.
    func beginWrite() throws(StoreError) -> OpaquePointer {
        try begin(0, "mdb_txn_begin (write)")
    }

    private func begin(_ flags: UInt32, _ operation: StaticString) throws(StoreError) -> OpaquePointer {
        var transaction: OpaquePointer?
        try check(mdb_txn_begin(pointer, nil, flags, &transaction), operation)
        guard let transaction else { throw .from(ENOMEM, operation) }
        return transaction
    }

    /// Pages that can be taken before the map is full, not counting those freed earlier. Not while the map may grow.
    var unusedPages: Int {
        var info = MDB_envinfo()
        mdb_env_info(pointer, &info)
        return info.me_mapsize / Self.pageSize - info.me_last_pgno - 1
    }

    /// Bytes up to the last page in use. Not while the map may grow.
    var fileBytes: Int {
        var info = MDB_envinfo()
        mdb_env_info(pointer, &info)
        return (info.me_last_pgno + 1) * Self.pageSize
    }

    /// Bytes of address space, for any thread at any time.
    var mapSize: Int { mapBytes.load(ordering: .relaxed) }

    /// Makes the map larger. No transaction of any thread may be open: LMDB maps the file anew.
    ///
    /// - Throws: `mapLost` when the new map could not be made; the old one is gone by then.
    func grow(to size: Int) throws(StoreError) {
        // The file first: it must never be smaller than a writable map.
        if kind == .young { try Self.allocate(path: path + "/data.mdb", size: size) }
        let code = mdb_env_set_mapsize(pointer, size)
        guard code == 0 else {
            isLost.store(true, ordering: .releasing)
            throw .mapLost(path: path, code: code)
        }
        mapBytes.store(size, ordering: .relaxed)
    }

    /// Takes everything out of a young layer. Readers inside keep what they see.
    func empty() throws(StoreError) {
        let all =
            [databases.revisions, databases.keys.short, databases.keys.long]
            + databases.records.flatMap { [$0.short, $0.long] }
        let transaction = try beginWrite()
        for database in all {
            let code = mdb_drop(transaction, database, 0)
            if code != 0 {
                mdb_txn_abort(transaction)
                throw .from(code, "mdb_drop (young)")
            }
        }
        try check(mdb_txn_commit(transaction), "mdb_txn_commit (young, emptied)")
        // LMDB gives out freed pages from the second transaction on, and the first one to take some splits the long
        // list of them. Better here than in the log thread's next batch.
        for _ in 0..<2 {
            let transaction = try beginWrite()
            do throws(StoreError) {
                try MetaTable(transaction: transaction, database: databases.meta).set(.format, Layout.formatVersion)
            } catch {
                mdb_txn_abort(transaction)
                throw error
            }
            try check(mdb_txn_commit(transaction), "mdb_txn_commit (young, emptied)")
        }
    }

    /// Pages on the list of free ones.
    func freePages() throws(StoreError) -> Int {
        let transaction = try beginRead()
        defer { mdb_txn_abort(transaction) }
        var cursor: OpaquePointer?
        // Database 0 is LMDB's own: transaction id → a count and that many page numbers.
        try check(mdb_cursor_open(transaction, 0, &cursor), "mdb_cursor_open (free list)")
        defer { mdb_cursor_close(cursor) }
        var key = MDB_val()
        var value = MDB_val()
        var pages = 0
        while mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0 {
            pages += value.mv_data?.loadUnaligned(as: Int.self) ?? 0
        }
        return pages
    }

    /// LMDB uses the system's page size; on everything Berth runs on that is what sysconf says.
    static let pageSize = Int(sysconf(Int32(_SC_PAGESIZE)))

    private static func openFiles(
        _ pointer: OpaquePointer, path: String, flags: UInt32, mapSize: Int
    ) throws(StoreError) {
        try check(mdb_env_set_mapsize(pointer, mapSize), "mdb_env_set_mapsize")
        let code = mdb_env_open(pointer, path, flags, 0o600)
        switch code {
        case 0: return
        case MDB_INVALID, MDB_CORRUPTED, MDB_VERSION_MISMATCH, MDB_PAGE_NOTFOUND:
            throw .corrupt(place: "\(path)/data.mdb", detail: String(cString: mdb_strerror(code)))
        case EACCES, EPERM, EROFS: throw .notWritable(path: path, errno: code)
        case ENOSPC, EFBIG: throw .noSpace(path: path, needed: mapSize)
        default: throw .lmdb(code: code, operation: "mdb_env_open \(path)")
        }
    }

    private static func allocate(path: String, size: Int) throws(StoreError) {
        let file = Glibc.open(path, O_RDWR | O_CLOEXEC)
        guard file >= 0 else { throw .notWritable(path: path, errno: errno) }
        defer { Glibc.close(file) }
        // Asked first, as an allocation that fails may have taken all there was for a moment.
        var status = stat()
        var disk = statvfs()
        let missing = fstat(file, &status) == 0 ? size - Int(status.st_blocks) * 512 : size
        if fstatvfs(file, &disk) == 0, missing > 0, UInt(missing) / disk.f_frsize >= disk.f_bavail {
            throw .noSpace(path: path, needed: size)
        }
        var code = posix_fallocate(file, 0, size)
        while code == EINTR { code = posix_fallocate(file, 0, size) }
        switch code {
        case 0: return
        case ENOSPC, EDQUOT, EFBIG: throw .noSpace(path: path, needed: size)
        default: throw .lmdb(code: code, operation: "posix_fallocate \(path)")
        }
    }

    private static func reading(
        _ pointer: OpaquePointer, _ body: (OpaquePointer) throws(StoreError) -> Void
    ) throws(StoreError) {
        var transaction: OpaquePointer?
        try check(mdb_txn_begin(pointer, nil, UInt32(MDB_RDONLY), &transaction), "mdb_txn_begin (examine)")
        guard let transaction else { throw .from(ENOMEM, "mdb_txn_begin (examine)") }
        defer { mdb_txn_abort(transaction) }
        try body(transaction)
    }

    /// - Parameter making: makes what is missing, as in a new base or one of an older version.
    /// - Returns: nil when a database is missing and none was to be made.
    private static func openDatabases(
        _ pointer: OpaquePointer, kind: Kind, _ pages: BasePages?, making: Bool
    ) throws(StoreError) -> Databases? {
        var transaction: OpaquePointer?
        let access = making ? 0 : UInt32(MDB_RDONLY)
        try check(mdb_txn_begin(pointer, nil, access, &transaction), "mdb_txn_begin (open)")
        var names: [MDB_dbi: [UInt8]] = [:]
        func open(_ name: String, _ flags: Int32 = 0) throws(StoreError) -> MDB_dbi {
            var database: MDB_dbi = 0
            let create = making ? MDB_CREATE : 0
            try check(mdb_dbi_open(transaction, name, UInt32(create | flags), &database), "mdb_dbi_open")
            names[database] = Array(name.utf8)
            return database
        }
        var databases = Databases()
        do throws(StoreError) {
            databases.meta = try open("meta")
            databases.revisions = try open("revisions")
            databases.keys.short = try open("keys", MDB_DUPSORT | MDB_DUPFIXED)
            databases.keys.long = try open("long_keys", MDB_DUPSORT | MDB_DUPFIXED)
            let long = try open("long_records")
            switch kind {
            case .young: databases.records = [Tree(short: try open("records"), long: long)]
            case .base:
                for table in RecordTable.allCases {
                    databases.records.append(Tree(short: try open(table.databaseName), long: long, pages: pages))
                }
                databases.keys.pages = pages
                pages?.names = names
            }
        } catch {
            mdb_txn_abort(transaction)
            if !making, error == .from(MDB_NOTFOUND, "mdb_dbi_open") { return nil }
            throw error
        }
        try check(mdb_txn_commit(transaction), "mdb_txn_commit (open)")
        return databases
    }
}
