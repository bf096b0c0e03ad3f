import CLMDB
import Glibc
public import Vocabulary

/// What can go wrong in the store. Cases carry values; `description` says what was found, what was expected and
/// what to do about it.
public enum StoreError: Error, Hashable, Sendable {
    /// The data folder does not exist and neither does the folder it would be made in.
    case folderMissing(path: String)
    /// Something that is not a folder stands where the data folder should be.
    case notAFolder(path: String)
    /// A file or folder cannot be made, written or read.
    case notWritable(path: String, errno: Int32)
    /// Another process has the data folder open; its process id where the lock file tells it.
    case heldByAnother(path: String, pid: Int32?)
    /// The files were written by a version of Berth that this one does not know.
    case unknownFormat(path: String, found: UInt64, expected: UInt64)
    /// The files belong to another cluster or member.
    case foreignIdentity(found: MemberIdentity, expected: MemberIdentity)
    /// Bytes on disk are not what was written there.
    case corrupt(place: String, detail: String)
    /// LMDB or the system call below it failed.
    case lmdb(code: Int32, operation: String)
    /// A layer could not be mapped into memory again after it had grown; the store must be opened again.
    case mapLost(path: String, code: Int32)
    /// The disk has no room for a file the store must have in full before it uses it.
    case noSpace(path: String, needed: Int)
    /// The revision asked for has been compacted away.
    case compacted(requested: Revision, compacted: Revision)
    /// The revision asked for does not exist yet.
    case futureRevision(requested: Revision, current: Revision)
    /// Nothing sealed reaches up to this log position, so no flush can make it durable.
    case notSealed(RaftIndex)
    /// A copy of the store was ended before it was whole, for this reason.
    case copyEnded(reason: String)
    /// An earlier write failed; what is in memory is in doubt until the store is opened again.
    case inDoubt
    /// The store has been closed.
    case closed

    static func from(_ code: Int32, _ operation: StaticString) -> StoreError {
        .lmdb(code: code, operation: "\(operation)")
    }

    /// A file that could not be written: for want of room or by the disk's fault, which may pass, or for want of rights.
    static func writing(_ path: String, _ code: Int32) -> StoreError {
        [ENOSPC, EDQUOT, EIO].contains(code)
            ? .lmdb(code: code, operation: "writing \(path)") : .notWritable(path: path, errno: code)
    }

    /// Whether the same work may succeed later as it is, since the disk alone stood in its way. Anything else means
    /// that the data or the program is not what it should be, and trying again would only hide that.
    package var isWorthRetrying: Bool {
        switch self {
        case .noSpace: true
        case .lmdb(let code, _): [ENOSPC, EDQUOT, EIO, MDB_MAP_FULL].contains(code)
        case .folderMissing, .notAFolder, .notWritable, .heldByAnother, .unknownFormat, .foreignIdentity, .corrupt,
            .mapLost, .compacted, .futureRevision, .notSealed, .copyEnded, .inDoubt, .closed:
            false
        }
    }

    /// Whether LMDB asks for a larger map.
    var isMapFull: Bool {
        if case .lmdb(code: MDB_MAP_FULL, operation: _) = self { return true }
        return false
    }
}

extension StoreError: CustomStringConvertible {
    /// One or two sentences for an operator.
    public var description: String {
        switch self {
        case .folderMissing(let path):
            "data folder \(path) does not exist and its parent folder is missing too: "
                + "create the parent or name another data folder"
        case .notAFolder(let path):
            "data folder \(path) is not a folder: remove the file or name another data folder"
        case .notWritable(let path, let errno):
            "cannot write \(path): \(Self.text(errno)); the server needs read and write rights there"
        case .heldByAnother(let path, let pid):
            "data folder \(path) is in use by " + (pid.map { "process \($0)" } ?? "another process")
                + ": stop that process or name another data folder"
        case .unknownFormat(let path, let found, let expected):
            "\(path) has format version \(found), this server knows \(expected): "
                + "start the server version that wrote it"
        case .foreignIdentity(let found, let expected):
            "data belongs to member \(Self.hex(found.memberID)) of cluster \(Self.hex(found.clusterID)), expected "
                + "member \(Self.hex(expected.memberID)) of cluster \(Self.hex(expected.clusterID)): "
                + "the data folder is not this member's"
        case .corrupt(let place, let detail):
            "damaged data in \(place): \(detail); restore this member from a snapshot"
        case .lmdb(let code, let operation):
            "\(operation) failed: \(Self.text(code)) (\(code))"
        case .mapLost(let path, let code):
            "cannot map \(path) again after it has grown: \(Self.text(code)); the server must be started again"
        case .noSpace(let path, let needed):
            "no room on disk for \(needed) bytes of \(path): free space and start again"
        case .compacted(let requested, let compacted):
            "revision \(requested) has been compacted, the oldest kept is \(compacted)"
        case .futureRevision(let requested, let current):
            "revision \(requested) is in the future, the newest is \(current)"
        case .notSealed(let raftIndex):
            "log position \(raftIndex) has not been sealed, so it cannot be flushed"
        case .copyEnded(let reason):
            "the copy was ended: \(reason); begin it again"
        case .inDoubt:
            "an earlier write failed: the store takes no more writes until it is opened again"
        case .closed:
            "the store is closed"
        }
    }

    private static func text(_ code: Int32) -> String { String(cString: mdb_strerror(code)) }
    private static func hex(_ id: UInt64) -> String { String(id, radix: 16) }
}

/// Turns a status code of LMDB into an error.
@inline(__always)
func check(_ code: Int32, _ operation: @autoclosure () -> StaticString) throws(StoreError) {
    guard code == 0 else { throw .from(code, operation()) }
}
