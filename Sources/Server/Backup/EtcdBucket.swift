import Vocabulary

/// The buckets of etcd's store, in the order of their names, which is that of the file.
///
/// Source: etcd's server/storage/schema and the packages mvcc, lease, auth and membership before 3.6.
enum EtcdBucket: String, CaseIterable {
    /// Encoded `AlarmMember` → nothing.
    case alarm
    /// Whether users are asked who they are, and how often that changed.
    case auth
    /// Name → encoded `authpb.Role`.
    case authRoles
    /// Name → encoded `authpb.User`.
    case authUsers
    /// The cluster's version.
    case cluster
    /// Revision → encoded `mvccpb.KeyValue`: the history.
    case key
    /// Id, 8 bytes big-endian → id (field 1), time to live in seconds (2), what is left of it (3).
    case lease
    /// Id in hexadecimal → JSON.
    case members
    /// Id in hexadecimal → `removed`.
    case membersRemoved = "members_removed"
    /// Position in the log, compaction.
    case meta
}

/// Names of single values in those buckets.
enum EtcdName {
    static let authEnabled = Array("authEnabled".utf8)
    static let authRevision = Array("authRevision".utf8)
    static let clusterVersion = Array("clusterVersion".utf8)
    static let confState = Array("confState".utf8)
    static let consistentIndex = Array("consistent_index".utf8)
    static let finishedCompaction = Array("finishedCompactRev".utf8)
    static let scheduledCompaction = Array("scheduledCompactRev".utf8)
    static let term = Array("term".utf8)
}

/// A key of bucket `key`: main revision, 8 bytes big-endian, `_`, sub, 8 bytes, and `t` for a deletion.
struct EtcdRevision {
    var main: Revision
    var sub: UInt32

    func key(isDeletion: Bool) -> [UInt8] {
        var key: [UInt8] = []
        key.reserveCapacity(18)
        withUnsafeBytes(of: main.value.bigEndian) { key.append(contentsOf: $0) }
        key.append(UInt8(ascii: "_"))
        withUnsafeBytes(of: UInt64(sub).bigEndian) { key.append(contentsOf: $0) }
        if isDeletion { key.append(UInt8(ascii: "t")) }
        return key
    }
}

extension EtcdRevision {
    /// Nil when it is none. Subs from 2^31 on are refused too: no transaction has as many operations.
    static func read(_ key: UnsafeRawBufferPointer) -> (revision: EtcdRevision, isDeletion: Bool)? {
        guard key.count == 17 || key.count == 18 && key[17] == UInt8(ascii: "t"), key[8] == UInt8(ascii: "_") else {
            return nil
        }
        let main = Int64(bigEndian: key.loadUnaligned(as: Int64.self))
        let sub = UInt64(bigEndian: key.loadUnaligned(fromByteOffset: 9, as: UInt64.self))
        guard main >= 0, sub <= UInt64(Int32.max) else { return nil }
        return (EtcdRevision(main: Revision(main), sub: UInt32(sub)), key.count == 18)
    }
}
