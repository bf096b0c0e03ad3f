import CommandText
import Server

extension SnapshotFile.Contents {
    /// Sentences for people.
    var lines: [String] {
        switch self {
        case .berth(let description): description.lines
        case .etcd(let description): description.lines
        }
    }

    /// Names and values for a table.
    var rows: [[String]] {
        switch self {
        case .berth(let description): description.rows
        case .etcd(let description): description.rows
        }
    }

    /// For scripts.
    var fields: [JSON.Field] {
        switch self {
        case .berth(let description): description.fields
        case .etcd(let description): description.fields
        }
    }
}

extension SnapshotFile.EtcdDescription {
    /// As etcdctl writes it: without zeros before it.
    private var hashText: String { SnapshotFile.Description.hex(UInt64(hash)) }

    /// The columns of `etcdctl snapshot status`.
    fileprivate var rows: [[String]] {
        [
            ["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE"],
            [hashText, "\(revision)", "\(totalKeys)", SizeText.short(totalSizeInBytes)],
        ]
    }

    fileprivate var lines: [String] {
        var lines = [
            "revision \(revision)" + ((compactedRevision ?? 0) > 0 ? ", compacted to \(compactedRevision ?? 0)" : ""),
            "\(totalKeys) entries: \(changes) changes, \(leases) leases, \(users) users, \(roles) roles",
            "\(SizeText.short(totalSizeInBytes)), hash \(hashText)",
            "etcd's format, at log entry \(consistentIndex), whole"
                + (hasDigest ? "" : "; without a SHA-256, so not saved by a client"),
        ]
        if !unknownBuckets.isEmpty {
            lines.append("buckets that no etcd has: " + unknownBuckets.joined(separator: ", "))
        }
        return lines
    }

    fileprivate var fields: [JSON.Field] {
        [
            .init("hash", hashText), .init("revision", revision), .init("total_keys", totalKeys),
            .init("total_size", totalSizeInBytes), .init("compacted_revision", compactedRevision ?? 0),
            .init("changes", changes), .init("leases", leases), .init("users", users), .init("roles", roles),
            .init("raft_applied_index", consistentIndex), .init("format", "etcd"),
            .init("has_digest", .bool(hasDigest)),
        ]
    }
}

extension SnapshotFile.Restored {
    /// What a restore from etcd's file has to add, for people.
    var notes: [String] {
        guard case .etcd(let description) = contents else { return [] }
        var notes: [String] = []
        if let hashKV {
            notes.append("from etcd's file: HashKV \(hashKV) at revision \(sourceRevision), as etcd answers it")
        }
        if orphanedKeys > 0 {
            notes.append(
                "\(orphanedKeys) keys name a lease that the file does not have; they stay, and hang on no lease")
        }
        if !description.unknownBuckets.isEmpty {
            notes.append(
                "left behind, as no etcd has them: buckets " + description.unknownBuckets.joined(separator: ", "))
        }
        return notes
    }

    /// The same for scripts.
    var etcdFields: [JSON.Field] {
        guard case .etcd(let description) = contents, let hashKV else { return [] }
        return [
            .init("format", "etcd"), .init("hash_kv", hashKV), .init("source_revision", sourceRevision),
            .init("leases", description.leases), .init("users", description.users), .init("roles", description.roles),
            .init("orphaned_keys", orphanedKeys),
        ]
    }
}
