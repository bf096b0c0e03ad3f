/// Why a bbolt file cannot be read, or not be written. `description` is one line without the file's name.
public enum BoltError: Error, Hashable, Sendable {
    /// The bytes cannot be read; the system's error number.
    case unreadable(errno: Int32)
    /// It is no bbolt file: neither of its first two pages is a meta page.
    case foreign
    /// The file ends before the pages it says it has.
    case truncated(size: Int, expected: UInt64)
    /// A page is not what it should be.
    case damaged(page: UInt64, detail: String)
    /// What is to be written does not come in the order of its keys.
    case outOfOrder(bucket: String)
    /// A key is empty or longer than bbolt allows.
    case keySize(bucket: String, count: Int)
    /// What was written is not what was planned.
    case notAsPlanned
}

extension BoltError: CustomStringConvertible {
    /// One line: what was found and what was expected.
    public var description: String {
        switch self {
        case .unreadable(let code): "it cannot be read: error \(code)"
        case .foreign: "it is no bbolt file: neither page 0 nor page 1 is a meta page with a right checksum"
        case .truncated(let size, let expected):
            "it has \(size) bytes, and its pages need \(expected): it is cut off"
        case .damaged(let page, let detail): "page \(page): \(detail)"
        case .outOfOrder(let bucket): "the entries of bucket \(bucket) do not come in the order of their keys"
        case .keySize(let bucket, let count):
            "a key of bucket \(bucket) has \(count) bytes, expected 1 to \(BoltFormat.largestKey)"
        case .notAsPlanned: "what was written is not what was planned: its source changed in between"
        }
    }
}
