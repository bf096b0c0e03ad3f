// The server's signed tokens bring Foundation into the build, and the compiler then takes the C library's `stat` for
// CoreFoundation's.
import CoreFoundation
import ReplicatedLog
import Store
import Vocabulary

#if canImport(Glibc)
    import Glibc
#endif

/// Looks over a member's data folder that no server runs on, and changes nothing: base, log, and whether they belong
/// together.
public struct FolderCheck: Sendable {
    /// Something that is not as it should be.
    public struct Finding: Sendable {
        /// File, page or table.
        public let place: String
        /// What was found, and what was expected.
        public let detail: String
    }

    /// Everything found; empty when all is as it should be.
    public private(set) var findings: [Finding] = []
    /// Findings that were counted only.
    public private(set) var omittedFindings = 0
    /// What base holds.
    public let base: Base
    /// What the log holds; nil when it could not be read, or there is none, as right after a restore.
    public private(set) var log: Log?

    /// Numbers of base; zero where they could not be read.
    public struct Base: Sendable {
        /// The cluster it belongs to; nil when that cannot be read.
        public let clusterID: UInt64?
        /// The newest revision.
        public let revision: Int64
        /// Revisions below cannot be read; zero when nothing was ever compacted.
        public let compactedRevision: Int64
        /// Keys that exist at the newest revision.
        public let keys: Int
        /// Changes in the history.
        public let changes: Int
        /// Leases.
        public let leases: Int
        /// Keys that hang on leases.
        public let attachments: Int
        /// Pages that hold data.
        public let usedPages: Int
        /// Pages that are free.
        public let freePages: Int
        /// Pages whose checksum was held against them.
        public let verifiedPages: Int
        /// The last log entry whose effects are in base.
        public let appliedIndex: UInt64
    }

    /// Numbers of the log.
    public struct Log: Sendable {
        /// The first entry still in it; zero when there is none.
        public let firstIndex: UInt64
        /// The last entry.
        public let lastIndex: UInt64
        /// Entries, those without bytes of Berth's included.
        public let entries: Int
        /// Bytes of them, as stored.
        public let bytes: Int
        /// The last entry that the newest checkpoint covers; zero before the first.
        public let checkpointIndex: UInt64
        /// Bytes of a last write that did not complete: nobody was told of it, and a start cuts it off.
        public let tornBytes: Int
    }

    /// Checks a data folder.
    ///
    /// - Parameter progress: told now and then what is looked at, how far it is, and of how much.
    /// - Throws: `ServerStartError` when the folder cannot be read, or a server runs on it. What is wrong with the data is a
    ///   finding.
    public init(
        directory: String, progress: (_ stage: String, _ done: Int, _ total: Int) -> Void = { _, _, _ in }
    ) throws(ServerStartError) {
        let path = directory + "/log"
        let store: StoreCheck.Report
        var log: Result<LogCheck.Report?, ReplicatedLogError> = .success(nil)
        do {
            guard StoreCheck.isThere(directory) || Self.holdsLog(path) else {
                throw ServerStartError(
                    description: "\(directory) holds no data: no server was ever started there; name another folder")
            }
            store = try StoreCheck.run(directory: directory) {
                progress($0.stage.rawValue, $0.done, $0.total)
            } beside: { _ in
                log = Self.readLog(path)
            }
        } catch let error as ServerStartError {
            throw error
        } catch {
            throw ServerStartError(description: "cannot check the store: \(error)")
        }
        base = Base(
            clusterID: store.identity?.clusterID, revision: store.currentRevision.value,
            compactedRevision: store.compactedRevision.value, keys: store.keys, changes: store.revisions,
            leases: store.leases, attachments: store.attachments, usedPages: store.usedPages,
            freePages: store.freePages, verifiedPages: store.verifiedPages, appliedIndex: store.appliedIndex.value)
        findings = store.findings.map { Finding(place: $0.place, detail: $0.detail) }
        omittedFindings = store.omittedFindings
        do {
            try checkLog(path, log.get(), store)
        } catch {
            throw ServerStartError(description: "cannot check the log: \(error)")
        }
    }

    private static func holdsLog(_ path: String) -> Bool {
        guard case .success(let report) = readLog(path) else { return true }
        return (report?.lastIndex ?? .zero) > .zero
    }

    /// Nil when there is no log.
    private static func readLog(_ path: String) -> Result<LogCheck.Report?, ReplicatedLogError> {
        var status = stat()
        guard stat(path, &status) == 0 || errno != ENOENT else { return .success(nil) }
        do throws(ReplicatedLogError) {
            return .success(try LogCheck.run(directory: path))
        } catch {
            return .failure(error)
        }
    }

    private mutating func checkLog(_ path: String, _ report: LogCheck.Report?, _ store: StoreCheck.Report) {
        guard let report else {
            // A store that was just restored, or has never been started to the end, has no log yet.
            if store.appliedIndex > .zero {
                add(path, "there is no log, but base has applied entry \(store.appliedIndex)")
            }
            return
        }
        for finding in report.findings { add("\(path)/\(finding.place)", finding.detail) }
        log = Log(
            firstIndex: report.firstIndex.value, lastIndex: report.lastIndex.value, entries: report.entries,
            bytes: report.bytes, checkpointIndex: report.checkpoint?.index.value ?? 0, tornBytes: report.tornBytes)
        // Without base's own numbers there is nothing to hold the log against.
        guard let identity = store.identity else { return }
        let last = max(report.lastIndex, report.checkpoint?.index ?? .zero)
        if last < store.appliedIndex {
            add(path, "the log ends at entry \(last), but base has applied entry \(store.appliedIndex)")
        }
        if let voters = report.voters, !voters.contains(identity.memberID) {
            let found = voters.map { String($0, radix: 16) }.joined(separator: ", ")
            add(path, "the log is that of member \(found), base that of member \(String(identity.memberID, radix: 16))")
        }
        guard let checkpoint = report.checkpoint else { return }
        do throws(LogReferenceError) {
            try LogReference(decoding: checkpoint.reference).check(identity, appliedIndex: store.appliedIndex)
        } catch {
            add(path, "\(error)")
        }
    }

    private mutating func add(_ place: String, _ detail: String) {
        findings.append(Finding(place: place, detail: detail))
    }
}
