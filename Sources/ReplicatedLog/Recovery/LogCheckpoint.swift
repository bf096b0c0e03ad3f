/// A checkpoint as read back and verified: libraft's `.meta` file (format, checksum, index and length of the
/// configuration, the configuration) and the reference beside it. Each is written under another name, synced and
/// renamed, the `.meta` first: a crash leaves both, the `.meta` alone, or neither.
struct LogCheckpoint {
    var index: UInt64
    var term: UInt64
    /// The applier's bytes.
    var reference: [UInt8]
    /// Who voted there; nil when that is damaged.
    var voters: [UInt64]?

    enum Reading {
        case whole(LogCheckpoint)
        case damaged(file: String, String)
    }

    private static let metaHeaderCount = 32

    static func read(_ listed: LogListing.Checkpoint, in path: String) throws(ReplicatedLogError) -> Reading {
        let metaName = listed.name + ".meta"
        if let problem = try FileBytes.read("\(path)/\(metaName)", problem(ofMeta:)) {
            return .damaged(file: metaName, problem)
        }
        let voters = try FileBytes.read("\(path)/\(metaName)") {
            RaftMembers.voters(in: $0[span: metaHeaderCount..<$0.count])
        }
        return try FileBytes.read("\(path)/\(listed.name)") { data in
            guard let envelope = SnapshotEnvelope(data) else {
                return .damaged(
                    file: listed.name, "reference of \(data.count) bytes fails its checksum, or is not Berth's")
            }
            guard envelope.index == listed.index, envelope.term == listed.term else {
                return .damaged(
                    file: listed.name, "reference is of entry \(envelope.index), term \(envelope.term), unlike its name"
                )
            }
            return .whole(
                LogCheckpoint(
                    index: envelope.index, term: envelope.term, reference: envelope.reference, voters: voters))
        }
    }

    private static func problem(ofMeta meta: UnsafeRawBufferPointer) -> String? {
        guard meta.count > metaHeaderCount else {
            return "file has \(meta.count) bytes (expected more than \(metaHeaderCount))"
        }
        guard meta.word(0) == 1 else { return "format version is \(meta.word(0)) (expected 1)" }
        guard meta.word(24) == UInt64(meta.count - metaHeaderCount) else {
            return "configuration of \(meta.word(24)) bytes (expected \(meta.count - metaHeaderCount))"
        }
        guard UInt64(RaftCRC32.checksum(meta[span: 16..<meta.count])) == meta.word(8) else {
            return "checksum mismatch"
        }
        return nil
    }
}
