import Glibc
public import Vocabulary

/// Looks through a data folder's base offline and tells everything that is not as it should be. Reads only: it makes no
/// file and changes none, but keeps servers out of the folder while it looks.
///
/// It has its own reader of LMDB's file, so that damage is a finding and not a crash, and asks three questions. Is every
/// page reached once, in order, with the checksum it was written with? Does every version of a key stand in the index
/// and in the history alike? Does every key that hangs on a lease have its record, and every record its key? Memory
/// grows by a bit a page and some bytes a lease attachment and a bucket of long keys.
public enum StoreCheck {
    /// Something that is not as it should be.
    public struct Finding: Hashable, Sendable, CustomStringConvertible {
        /// Where: a page of base, or a table and what it holds.
        public let place: String
        /// What is there and what should be.
        public let detail: String

        /// One line.
        public var description: String { "\(place): \(detail)" }
    }

    /// What was found, and how much there is.
    public struct Report: Sendable {
        /// Empty: everything is as it should be. At most `findingLimit`.
        public var findings: [Finding] = []
        /// Findings beyond the limit, counted only.
        public var omittedFindings = 0
        /// Who the data belongs to; nil when `meta` cannot be read, as with the numbers that follow.
        public var identity: MemberIdentity?
        /// The last log entry whose effects are in base.
        public var appliedIndex = RaftIndex.zero
        /// That entry's term.
        public var appliedTerm = RaftTerm.zero
        /// The newest revision.
        public var currentRevision = Revision.zero
        /// Revisions below cannot be read; zero when nothing was ever compacted.
        public var compactedRevision = Revision.zero
        /// Keys that exist at the newest revision.
        public var keys = 0
        /// Changes in the history that are still stored.
        public var revisions = 0
        /// Leases.
        public var leases = 0
        /// Keys that hang on leases.
        public var attachments = 0
        /// Pages that hold data, of how many bytes each.
        public var usedPages = 0
        /// Pages that are free.
        public var freePages = 0
        /// Bytes of a page.
        public var pageSize = PageFile.pageSize
        /// Pages whose checksum was held against them.
        public var verifiedPages = 0
    }

    /// How far a check has come, for a progress bar.
    public struct Progress: Sendable {
        /// What is being looked at.
        public enum Stage: String, Sendable {
            /// Pages, their order and checksums.
            case pages
            /// Versions of keys in the index.
            case index
            /// Lease attachments.
            case leases
            /// The history, change by change.
            case revisions
        }
        /// What is being looked at.
        public var stage: Stage
        /// Pages or entries done.
        public var done: Int
        /// Of how many, about.
        public var total: Int
    }

    /// More findings than this are only counted.
    public static let findingLimit = 1_000

    /// Checks the store of a data folder.
    ///
    /// - Parameters:
    ///   - directory: the data folder, with `base` in it.
    ///   - progress: told now and then, on the calling thread.
    ///   - beside: looks at what else is in the folder, while servers are still kept out.
    /// - Throws: `heldByAnother` when a server runs there, `folderMissing`, `notWritable` when a file may not be read. What
    ///   is wrong with the data is in the report.
    public static func run(
        directory: String, progress: (Progress) -> Void = { _ in }, beside: (Report) -> Void = { _ in }
    ) throws(StoreError) -> Report {
        var status = stat()
        guard stat(directory, &status) == 0 else {
            throw errno == ENOENT ? .folderMissing(path: directory) : .notWritable(path: directory, errno: errno)
        }
        let lock = try FolderLock(checking: directory)
        defer { lock?.release() }
        let findings = Findings()
        var report = Report()
        do throws(StoreError) {
            try check(directory + "/base", findings, &report, progress)
        } catch {
            guard case .corrupt(let place, let detail) = error else { throw error }
            findings.add(place, detail)
        }
        report.findings = findings.list
        report.omittedFindings = findings.omitted
        beside(report)
        return report
    }

    /// Whether a store was ever made in a data folder.
    public static func isThere(_ directory: String) -> Bool {
        ["/base/data.mdb", "/base/" + BasePages.fileName].contains { access(directory + $0, F_OK) == 0 }
    }

    private static func check(
        _ base: String, _ findings: Findings, _ report: inout Report, _ progress: (Progress) -> Void
    ) throws(StoreError) {
        let file: PageFile
        do throws(StoreError) {
            file = try PageFile(path: base + "/data.mdb")
        } catch {
            guard case .notWritable(let path, let code) = error, code == ENOENT || code == ENOTDIR else { throw error }
            throw .corrupt(place: path, detail: "the file is missing")
        }
        let metas = try MetaPages(file)
        let sums = try StoredSums(base + "/" + BasePages.fileName, metas, findings)
        var pages = StructureCheck(file, metas.newest, sums, findings)
        try pages.run(&report, progress)
        guard !pages.isTangled else {
            return findings.add("base", "pages are used twice: keys and revisions were not looked at")
        }
        let contents = ContentsCheck(file, pages.trees, findings)
        contents.run(&report, progress)
    }
}

/// Collects what is found, up to a bound.
final class Findings {
    private(set) var list: [StoreCheck.Finding] = []
    private(set) var omitted = 0

    func add(_ place: String, _ detail: String) {
        guard list.count < StoreCheck.findingLimit else { return omitted += 1 }
        list.append(StoreCheck.Finding(place: place, detail: detail))
    }

    /// Makes a finding of an error; other work goes on.
    func catching(_ place: String, _ body: () throws(StoreError) -> Void) {
        do throws(StoreError) {
            try body()
        } catch {
            guard case .corrupt(let place, let detail) = error else { return add(place, "\(error)") }
            add(place, detail)
        }
    }
}

/// The checksums on disk, as far as they are of this base.
struct StoredSums {
    private let table = SumTable()
    /// Every page in use should have one.
    let isComplete: Bool

    init(_ path: String, _ metas: MetaPages, _ findings: Findings) throws(StoreError) {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else {
            guard errno == ENOENT else { throw .notWritable(path: path, errno: errno) }
            isComplete = false
            return
        }
        defer { close(file) }
        let newest = metas.newest
        guard let header = try SumHeader.newest(in: file) else {
            findings.add(path, "neither of its headers can be read")
            isComplete = false
            return
        }
        isComplete = header.transactionID == newest.transactionID
        if header.transactionID > newest.transactionID {
            findings.add(
                path, "it belongs to transaction \(header.transactionID), the newest of base is \(newest.transactionID)"
            )
            return
        }
        if isComplete, header.metaChecksum != newest.checksum {
            findings.add("base page \(newest.transactionID & 1)", "the newest meta page has a wrong checksum")
        }
        guard header.transactionID + 1 >= newest.transactionID else {
            findings.add(
                path,
                "it belongs to transaction \(header.transactionID), base is at \(newest.transactionID): something "
                    + "wrote base that keeps no checksums; an older version of Berth does, and then this file may be removed"
            )
            return
        }
        if try !table.read(Int(header.count), from: file) {
            findings.add(path, "it ends before its \(header.count) entries")
        }
    }

    subscript(page: UInt64) -> UInt32 { table[page] }
}
