import ArgumentParser
import CommandText
import Server

#if canImport(Glibc)
    import Glibc
#endif

/// `berth snapshot`: copies of the store in files.
struct SnapshotCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot", abstract: "Save a server's store to a file, look at such a file, restore it.",
        subcommands: [SnapshotSave.self, SnapshotStatus.self, SnapshotRestore.self])
}

/// How what a snapshot holds is written.
enum SnapshotWriteOut: String, ExpressibleByArgument, CaseIterable {
    /// For people.
    case simple
    /// For scripts: one JSON object a line.
    case json
    /// A table, as etcd's tools draw it.
    case table
}

extension SnapshotFile.Description {
    /// The hash as all commands write it.
    var hashText: String { Self.hex(UInt64(hash), digits: 8) }

    /// Names and values for a table.
    var rows: [[String]] {
        [
            ["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE", "CLUSTER", "FORMAT"],
            [
                hashText, "\(revision)", "\(keys)", SizeText.short(sizeInBytes), Self.hex(clusterID), "\(format)",
            ],
        ]
    }

    /// Sentences for people.
    var lines: [String] {
        [
            "revision \(revision)" + (compactedRevision > 0 ? ", compacted to \(compactedRevision)" : ""),
            "\(keys) keys, \(changes) changes, \(leases) leases",
            "\(SizeText.short(sizeInBytes)), hash \(hashText)",
            "taken \(TimeOfDay.stamp(takenAtMilliseconds)) from member \(Self.hex(memberID)) of cluster "
                + "\(Self.hex(clusterID)) at log entry \(appliedIndex)",
            "format \(format), whole",
        ]
    }

    /// For scripts.
    var fields: [JSON.Field] {
        [
            .init("hash", hashText), .init("revision", revision), .init("compacted_revision", compactedRevision),
            .init("keys", keys), .init("changes", changes), .init("leases", leases), .init("size", sizeInBytes),
            .init("cluster", Self.hex(clusterID)), .init("member", Self.hex(memberID)),
            .init("raft_applied_index", appliedIndex), .init("taken_at_ms", takenAtMilliseconds),
            .init("format", format),
        ]
    }

    static func hex(_ number: UInt64, digits: Int = 1) -> String {
        let text = String(number, radix: 16)
        return String(repeating: "0", count: max(0, digits - text.count)) + text
    }
}

extension TimeOfDay {
    /// `2026-03-05 14:05:09`, local time.
    static func stamp(_ milliseconds: Int64) -> String {
        var seconds = time_t(milliseconds / 1000)
        var parts = tm()
        localtime_r(&seconds, &parts)
        let day = [Int(parts.tm_year) + 1900, Int(parts.tm_mon) + 1, Int(parts.tm_mday)]
        return day.map { $0 < 10 ? "0\($0)" : "\($0)" }.joined(separator: "-") + " " + clock(milliseconds)
    }
}
