import EtcdAPI
import SwiftProtobuf

/// A condition of a transaction, judged on the state before it. A key that does not exist has version and revisions 0;
/// a check of its value fails.
public struct Check: Sendable, Hashable {
    /// How two numbers or values are compared.
    public enum Comparison: Sendable, Hashable {
        /// The same.
        case equal
        /// Another.
        case notEqual
        /// Greater than the one given.
        case greater
        /// Less than the one given.
        case less
    }

    enum Target: Sendable, Hashable {
        case version(Int64)
        case create(Int64)
        case mod(Int64)
        case value(Bytes)
        case lease(Int64)
    }

    let range: KeyRange
    let comparison: Comparison
    let target: Target

    /// The key exists.
    public static func exists(_ key: Bytes) -> Check {
        Check(range: .key(key), comparison: .greater, target: .create(0))
    }

    /// The key does not exist.
    public static func missing(_ key: Bytes) -> Check {
        Check(range: .key(key), comparison: .equal, target: .create(0))
    }

    /// The key has this very value.
    public static func value(of key: Bytes, is value: Bytes) -> Check {
        Check(range: .key(key), comparison: .equal, target: .value(value))
    }

    /// The key's value compares so with another.
    public static func value(of key: Bytes, _ comparison: Comparison, _ value: Bytes) -> Check {
        Check(range: .key(key), comparison: comparison, target: .value(value))
    }

    /// The number of puts since the key was created compares so.
    public static func version(of key: Bytes, _ comparison: Comparison = .equal, _ version: Int64) -> Check {
        Check(range: .key(key), comparison: comparison, target: .version(version))
    }

    /// The revision that created the key compares so. Equality with a lock's token proves the lock.
    public static func createRevision(of key: Bytes, _ comparison: Comparison = .equal, _ revision: Int64) -> Check {
        Check(range: .key(key), comparison: comparison, target: .create(revision))
    }

    /// The revision of the key's last put compares so.
    public static func modRevision(of key: Bytes, _ comparison: Comparison = .equal, _ revision: Int64) -> Check {
        Check(range: .key(key), comparison: comparison, target: .mod(revision))
    }

    /// The key hangs on this lease.
    public static func lease(of key: Bytes, is lease: LeaseID?) -> Check {
        Check(range: .key(key), comparison: .equal, target: .lease(lease?.value ?? 0))
    }

    /// No key of the range was put after `revision`; true for an empty range.
    public static func unchanged(_ range: KeyRange, since revision: Int64) -> Check {
        Check(range: range, comparison: .less, target: .mod(revision + 1))
    }

    var wire: Etcdserverpb_Compare {
        .with {
            $0.key = range.key.data
            $0.rangeEnd = range.end.data
            $0.result =
                switch comparison {
                case .equal: .equal
                case .notEqual: .notEqual
                case .greater: .greater
                case .less: .less
                }
            switch target {
            case .version(let version):
                $0.target = .version
                $0.version = version
            case .create(let revision):
                $0.target = .create
                $0.createRevision = revision
            case .mod(let revision):
                $0.target = .mod
                $0.modRevision = revision
            case .value(let value):
                $0.target = .value
                $0.value = value.data
            case .lease(let lease):
                $0.target = .lease
                $0.lease = lease
            }
        }
    }
}
