import CLMDB
import Glibc
import Synchronization

/// Guards base's pages by checksums, as LMDB has none of its own: no byte of `base/data.mdb` is used before its page
/// has been held against the sum that was taken when the page was written.
///
/// **What is known.** LMDB never changes a page in place. A transaction writes pages that were free, or that lie behind
/// the file's end; a page that is in the old tree and still in the new one is the same, and when a page changes, so do
/// all above it up to the root. So after a commit the pages to be summed are found by a descent from the roots that turns
/// back at every page with a sum, and those to be forgotten stand in the one record of the list of free pages that bears
/// the transaction's number. Pages that a transaction took and gave back again, and what it left over of older records,
/// were free before and had no sum. (`BasePages+Update`)
///
/// **Order on disk, and why every crash is safe.** Commit of base (durable) → entries (durable) → header with the
/// transaction's number (durable) → the next transaction of base may begin. So base is at most one transaction ahead of
/// the header, and while it is, no page that the transaction before it used has been written to. At opening then:
/// - Header and base agree: all entries are what they should be.
/// - Base is one ahead: any part of the entries may have reached the disk. Entries of pages that were free before that
///   transaction, as the older meta page tells, are taken as 0, and the update is done again: it finds just the pages
///   which that transaction wrote. An entry that says 0 by now for a page that it freed is as it should be.
/// - There is no file: a version without sums wrote base. All pages are read once.
/// - Base is further ahead: no crash leaves that, only a version without sums that wrote it in between. Refused.
/// - Base is behind: its newest meta page is damaged, or files of different times were put together. Refused.
///
/// A page with a stale sum would be taken for damaged when it is used again; it cannot be, as its entry is durably 0
/// before the transaction begins that could take it. A page in use without a sum is trusted until it is next written;
/// that happens only where the file's own bytes were damaged.
///
/// **What is read when.** At opening: both meta pages, the list of free pages, the main tree, `meta`, every branch page of
/// the named trees, and the last page in use, for the file's length. All else when a read first comes by
/// (`BasePages+Cover`), or when the flusher's thread has time (`BasePages+Sweep`), which ends the checks for good: what
/// the process itself wrote counts as verified.
final class BasePages: @unchecked Sendable {
    // Unchecked: `sums` and `verified` are atomics; the other variables belong to the thread that writes base, or are
    // set before there is a second thread.
    static let fileName = "pages.sum"

    let file: PageFile
    let folder: String
    let sums = SumTable()
    /// Whether there may be pages nobody has looked at. What a read costs when there are none: this one load.
    private let checking = Atomic<Bool>(true)
    /// A bit a page, for the pages there were at opening; all others are of this process.
    private var verified: UnsafeMutablePointer<Atomic<UInt64>>?
    private var knownPages: UInt64 = 0

    /// Base's transaction that `sums` belong to, and the one that is on disk.
    private(set) var transactionID: UInt64 = 0
    private var writtenID: UInt64?
    private var sumsFile: Int32 = -1
    /// Where the pass over all pages stands.
    var sweepPosition: UInt64 = 0

    /// Trees by handle; set when base is opened.
    var names: [MDB_dbi: [UInt8]] = [:]
    /// Told of damage, on the thread that met it.
    var onDamage: @Sendable (StoreError) -> Void = { _ in }
    /// What writing the sums fails with, for tests.
    var fault: @Sendable () -> StoreError? = { nil }

    /// Examines base's files, and writes nothing.
    init(folder: String) throws(StoreError) {
        self.folder = folder
        let sumsPath = folder + "/" + Self.fileName
        let descriptor = open(sumsPath, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 || errno == ENOENT else { throw .notWritable(path: sumsPath, errno: errno) }
        sumsFile = descriptor
        do throws(StoreError) {
            file = try Self.openFile(folder, hasSums: descriptor >= 0)
        } catch {
            if descriptor >= 0 { close(descriptor) }
            throw error
        }
        let metas = try MetaPages(file)
        let header = try readHeader(metas)
        try load(header, metas)
        try checkLength()
        try verifyAtOpening(metas)
    }

    deinit {
        if sumsFile >= 0 { close(sumsFile) }
        verified?.deallocate()
    }

    private static func openFile(_ folder: String, hasSums: Bool) throws(StoreError) -> PageFile {
        let path = folder + "/data.mdb"
        do throws(StoreError) {
            return try PageFile(path: path)
        } catch {
            guard error == .notWritable(path: path, errno: ENOENT), hasSums else { throw error }
            throw .corrupt(place: path, detail: "the file is missing, though its checksums are there")
        }
    }

    /// Whether readers and the flusher have to look at pages before they use them.
    @inline(__always)
    var isChecking: Bool { checking.load(ordering: .relaxed) }

    func endChecking() {
        checking.store(false, ordering: .relaxed)
        file.forgetPages()
    }

    func damage(_ page: UInt64, _ detail: String) -> StoreError {
        let error = PageFile.damage(page, detail)
        onDamage(error)
        return error
    }
}

// Opening.
extension BasePages {
    /// The header that fits base; nil when the sums must be taken anew.
    private func readHeader(_ metas: MetaPages) throws(StoreError) -> SumHeader? {
        let newest = metas.newest
        func refuse(_ detail: String) -> StoreError { .corrupt(place: file.path, detail: detail) }
        guard sumsFile >= 0 else {
            guard metas.areConsecutive else {
                throw refuse(
                    "its meta pages are of transactions \(newest.transactionID) and \(metas.older.transactionID), "
                        + "which do not follow each other")
            }
            return nil
        }
        let sumsPath = folder + "/" + Self.fileName
        guard let header = try SumHeader.newest(in: sumsFile) else {
            throw .corrupt(place: sumsPath, detail: "neither of its headers can be read")
        }
        guard newest.transactionID >= header.transactionID else {
            throw refuse(
                "its newest transaction is \(newest.transactionID), but its checksums are of transaction "
                    + "\(header.transactionID): a meta page is damaged, or the files are of different times")
        }
        if newest.transactionID == header.transactionID {
            guard newest.checksum == header.metaChecksum else {
                throw refuse("the meta page of transaction \(newest.transactionID) has a wrong checksum")
            }
            return header
        }
        guard metas.areConsecutive else {
            throw refuse(
                "its meta pages are of transactions \(newest.transactionID) and \(metas.older.transactionID), its "
                    + "checksums of \(header.transactionID): a meta page is damaged")
        }
        guard metas.older.transactionID == header.transactionID else {
            throw refuse(
                "it is at transaction \(newest.transactionID), its checksums at \(header.transactionID), and no crash leaves "
                    + "them further apart than one. An older version of Berth, which keeps none, does: after one, remove "
                    + "\(sumsPath) and start again; otherwise the data is damaged")
        }
        // One ahead: a crash between commit and sums; or the number alone of an old meta page was damaged. A
        // transaction's root is neither of the last two, whose pages it could not take.
        guard metas.older.checksum == header.metaChecksum, newest.main.root != header.olderRoot,
            newest.main.root != metas.older.main.root
        else { throw refuse("the meta page of transaction \(newest.transactionID) is damaged") }
        return header
    }

    /// Brings the table up to base's newest transaction, in memory.
    private func load(_ header: SumHeader?, _ metas: MetaPages) throws(StoreError) {
        guard let header else {
            try takeAll(metas)
            endChecking()
            transactionID = metas.newest.transactionID
            if sumsFile >= 0 { close(sumsFile) }
            sumsFile = -1
            return
        }
        let entries = (fileSize(sumsFile) - SumTable.fileStart) / 4
        guard entries >= Int(header.count), try sums.read(max(entries, 0), from: sumsFile) else {
            throw .corrupt(
                place: folder + "/" + Self.fileName, detail: "it has \(entries) entries, expected \(header.count)")
        }
        knownPages = UInt64(sums.count)
        let words = sums.count / 64 + 1
        let bits = UnsafeMutablePointer<Atomic<UInt64>>.allocate(capacity: words)
        for word in 0..<words { (bits + word).initialize(to: Atomic(0)) }
        verified = bits
        transactionID = header.transactionID
        writtenID = header.transactionID
        guard header.transactionID < metas.newest.transactionID else { return }
        try metas.older.checkRoots(place: file.path)
        try forgetWhatWasFree(before: metas)
        // What was read may be in memory only, left by a write that the disk refused.
        sums.markChanged()
        try update(metas)
        transactionID = metas.newest.transactionID
    }

    private func fileSize(_ file: Int32) -> Int {
        var status = stat()
        return fstat(file, &status) == 0 ? Int(status.st_size) : 0
    }

    /// LMDB may leave pages at the end unwritten that it gave back before the commit. The last one in use must be there.
    private func checkLength() throws(StoreError) {
        guard let last = sums.lastKnownPage else { return }
        guard last < UInt64(file.pageCount) else {
            throw .corrupt(
                place: file.path,
                detail: "the file has \(file.pageCount) whole pages, but page \(last) is in use: it was cut short")
        }
        try verify(last)
    }
}

// Single pages.
extension BasePages {
    /// Sum of one page or a whole overflow run.
    static func sum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        var sum = CRC32C()
        sum.add(bytes)
        return sum.value == 0 ? 1 : sum.value
    }

    /// Looks at a page, or at the overflow run that begins there, unless somebody did before.
    func verify(_ page: UInt64) throws(StoreError) {
        guard page < knownPages, let verified else { return }
        let word = verified + Int(page / 64)
        let bit = UInt64(1) << (page % 64)
        if word.pointee.load(ordering: .relaxed) & bit != 0 { return }
        let expected = sums[page]
        if expected != 0 {
            var bytes = try inFile(page, 1)
            // An overflow run says how long it is; when that is what is damaged, the sum of any other length is wrong.
            if bytes.number(10, UInt16.self) == 0x04 {
                bytes = try inFile(page, Int(max(1, bytes.number(12, UInt32.self))))
            }
            let found = Self.sum(bytes)
            guard found == expected else {
                throw damage(
                    page,
                    "its checksum is \(String(found, radix: 16)), expected \(String(expected, radix: 16))")
            }
        }
        word.pointee.bitwiseOr(bit, ordering: .relaxed)
    }

    private func inFile(_ page: UInt64, _ count: Int) throws(StoreError) -> UnsafeRawBufferPointer {
        do throws(StoreError) {
            return try file.bytes(page, count: count)
        } catch {
            if case .corrupt = error { onDamage(error) }
            throw error
        }
    }

    /// A page whose bytes this process has just seen to be good, or written.
    func markVerified(_ page: UInt64) {
        guard page < knownPages, let verified else { return }
        (verified + Int(page / 64)).pointee.bitwiseOr(1 << (page % 64), ordering: .relaxed)
    }

    /// A page to be read: verified, its header sound.
    func page(_ number: UInt64) throws(StoreError) -> Page {
        try verify(number)
        return try file.page(number)
    }
}

// Keeping up.
extension BasePages {
    /// Makes the sums of base's last transaction durable. Nothing to do when they are; must be called before a
    /// transaction of base begins, and should be called after it.
    func catchUp() throws(StoreError) {
        let metas = try MetaPages(file)
        let newest = metas.newest.transactionID
        if newest != transactionID {
            guard newest == transactionID + 1 else {
                throw .corrupt(
                    place: file.path, detail: "transaction \(newest) follows \(transactionID): another process wrote it"
                )
            }
            try update(metas)
            transactionID = newest
            file.forgetPages()
        }
        guard writtenID != transactionID else { return }
        if let fault = fault() { throw fault }
        let header = SumHeader(metas, count: sums.count)
        if sumsFile < 0 {
            sumsFile = try makeFile(header)
        } else {
            try sums.write(to: sumsFile)
            try flush(sumsFile)
            try header.write(to: sumsFile, everywhere: false)
            try flush(sumsFile)
        }
        sums.markWritten()
        writtenID = transactionID
    }

    /// Makes the sums durable when there is no file of them at all.
    func makeFileIfMissing() throws(StoreError) {
        if sumsFile < 0 { try catchUp() }
    }

    /// The file in one piece: it is there in full or not at all.
    private func makeFile(_ header: SumHeader) throws(StoreError) -> Int32 {
        let path = folder + "/" + Self.fileName
        let new = path + ".new"
        let made = open(new, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard made >= 0 else { throw .writing(new, errno) }
        do throws(StoreError) {
            try header.write(to: made, everywhere: true)
            try sums.writeAll(to: made)
            try flush(made)
            guard rename(new, path) == 0 else { throw .writing(path, errno) }
            try DataFolder.sync(folder)
        } catch {
            close(made)
            throw error
        }
        return made
    }

    private func flush(_ file: Int32) throws(StoreError) {
        guard fdatasync(file) == 0 else { throw .lmdb(code: errno, operation: "fdatasync base/pages.sum") }
    }
}
