import CLMDB
import Glibc
public import Vocabulary

/// Why a snapshot file cannot be read, or not be restored. `description` is one line: what was found, what was expected
/// and what to do.
public enum SnapshotError: Error, Hashable, Sendable {
    /// The file cannot be opened or read.
    case unreadable(path: String, errno: Int32)
    /// It is no regular file, or does not begin as a snapshot does.
    case foreign(path: String)
    /// A later version of Berth wrote it.
    case unknownVersion(path: String, found: UInt32, expected: UInt32)
    /// It ends before its end.
    case truncated(path: String, size: Int)
    /// Its bytes are not what was written.
    case damaged(path: String, offset: Int, detail: String)
    /// It is another system's file, and not one that can be used.
    case refused(path: String, detail: String)
    /// The data folder to be made is one, or holds something else.
    case notEmpty(path: String, entry: String)
    /// A file or folder cannot be made or written.
    case notWritable(path: String, errno: Int32)
    /// What was built does not come to the hash that the snapshot names.
    case hashDiffers(path: String, expected: UInt32, found: UInt32)
    /// The newest revision cannot be raised by so much.
    case bumpTooLarge(bump: Int64, revision: Revision)
    /// Building the store failed.
    case store(StoreError)
}

extension SnapshotError: CustomStringConvertible {
    /// One line for an operator.
    public var description: String {
        switch self {
        case .unreadable(let path, let code): "cannot read \(path): \(String(cString: strerror(code)))"
        case .foreign(let path):
            "\(path) is no snapshot of Berth or etcd; expected a file that berth snapshot save or etcdctl snapshot save made"
        case .refused(let path, let detail): "\(path): \(detail)"
        case .unknownVersion(let path, let found, let expected):
            "\(path) has snapshot format \(found), this version of berth knows \(expected): use the version that wrote it"
        case .truncated(let path, let size):
            "\(path) ends at byte \(size), before the end of the snapshot: it is cut off or damaged; use another copy of the file"
        case .damaged(let path, let offset, let detail):
            "\(path) is damaged at byte \(offset): \(detail); use another copy of the file"
        case .notEmpty(let path, let entry):
            "\(path) is not empty (\(entry) is there): name a folder that does not exist or is empty"
        case .notWritable(let path, let code): "cannot write \(path): \(String(cString: strerror(code)))"
        case .hashDiffers(let path, let expected, let found):
            "what was restored from \(path) has hash \(String(found, radix: 16)), the file names "
                + "\(String(expected, radix: 16)): the store it was taken from was damaged; use an older snapshot"
        case .bumpTooLarge(let bump, let revision):
            "revision \(revision) cannot be raised by \(bump): expected 0 to \(Int64.max / 2 - revision.value)"
        case .store(.lmdb(let code, let operation)) where code == ENOSPC || code == EDQUOT:
            "no room on disk to restore (\(operation)): free space and begin again"
        case .store(let error): error.description
        }
    }
}
