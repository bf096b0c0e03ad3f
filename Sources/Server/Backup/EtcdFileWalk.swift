import BoltFile
import Crypto
import EtcdAPI
import ProtobufWire
import StateMachine
import Store
import Vocabulary

/// Makes etcd's snapshot of a copy of base: a bbolt file, and the SHA-256 of its bytes behind it, as a client of etcd's
/// `Maintenance.Snapshot` saves it. What Berth alone has (places in line with their owners, guards, the history of lines)
/// has no bucket in etcd and is not in it.
///
/// Base is read twice: once for the sizes, from which follow the pages that come first, and once for the bytes.
///
/// Memory: the largest entry, and a piece.
final class EtcdFileWalk: CopyWalk {
    /// Who the copy is taken from.
    struct Member: Sendable {
        var id: UInt64
        var name: String
        var clientURLs: [String]
    }

    /// Bytes of one message, as etcd has it.
    static let blobBytes = 32 << 10
    /// Bytes of a piece, at least until the end.
    private static let pieceBytes = 256 << 10
    /// Entries one step looks at.
    private static let looksAStep = 10_000

    private enum Phase {
        case planning
        case writing
        case digest
        case done
    }

    private let reader: BaseReader
    private let member: Member
    private var phase = Phase.planning
    private var writer = BoltWriter()
    private var buckets = EtcdBucket.allCases[...]
    private var isBucketOpen = false
    private var hash = SHA256()
    private var total: UInt64 = 0
    private var done: UInt64 = 0

    init(_ reader: BaseReader, member: Member) {
        self.reader = reader
        self.member = member
    }

    /// `done` and `total` count bytes of the file; `total` is zero until that is known.
    func nextPiece() throws(StoreError) -> SnapshotCopy.Piece? {
        switch phase {
        case .planning:
            if try step() { return piece([]) }
            let plan = try making { () throws(BoltError) in try writer.finish() }
            total = UInt64(plan.fileSize)
            writer = BoltWriter(plan)
            buckets = EtcdBucket.allCases[...]
            reader.rewind()
            phase = .writing
            return piece([])
        case .writing:
            if try step() {
                // Whole messages, so that all but the last one are full.
                return piece(writer.take(writer.pendingBytes / Self.blobBytes * Self.blobBytes))
            }
            _ = try making { () throws(BoltError) in try writer.finish() }
            phase = .digest
            return piece(writer.take())
        case .digest:
            phase = .done
            return SnapshotCopy.Piece(bytes: Array(hash.finalize()), done: total, total: total)
        case .done: return nil
        }
    }

    private func piece(_ bytes: [UInt8]) -> SnapshotCopy.Piece {
        hash.update(data: bytes)
        done += UInt64(bytes.count)
        return SnapshotCopy.Piece(bytes: bytes, done: done, total: total)
    }

    // MARK: - Entries

    /// Goes on with the buckets until a piece is full or enough was looked at; false when all are in.
    private func step() throws(StoreError) -> Bool {
        var looks = 0
        while let bucket = buckets.first {
            if !isBucketOpen { try making { () throws(BoltError) in try writer.beginBucket(bucket.rawValue) } }
            isBucketOpen = true
            guard try fill(bucket, &looks) else { return true }
            writer.endBucket()
            isBucketOpen = false
            buckets = buckets.dropFirst()
        }
        return false
    }

    /// False: there is more to come.
    private func fill(_ bucket: EtcdBucket, _ looks: inout Int) throws(StoreError) -> Bool {
        switch bucket {
        case .key:
            while let change = try reader.nextChange() {
                if try reader.isKept(change) { try add(change) }
                if isEnough(&looks) { return false }
            }
        case .lease:
            while let (key, value) = try reader.nextRecord(of: .leases) {
                try add(Array(key), Self.lease(key, value))
                if isEnough(&looks) { return false }
            }
        case .authRoles: return try copy(.roles, &looks)
        case .authUsers: return try copy(.users, &looks)
        case .alarm: for alarm in try alarms() { try add(alarm, []) }
        case .auth:
            let settings = try settings()
            try add(EtcdName.authEnabled, settings[EtcdName.authEnabled] ?? [0])
            if let revision = settings[EtcdName.authRevision] { try add(EtcdName.authRevision, revision) }
        case .cluster: try add(EtcdName.clusterVersion, Array(Self.clusterVersion.utf8))
        case .members: try add(Array(String(member.id, radix: 16).utf8), Array(member.json.utf8))
        case .membersRemoved: break
        case .meta: try addMeta()
        }
        return true
    }

    private func isEnough(_ looks: inout Int) -> Bool {
        looks += 1
        return looks >= Self.looksAStep || writer.pendingBytes >= Self.pieceBytes
    }

    private func add(_ change: StoredChange) throws(StoreError) {
        let key = EtcdRevision(main: change.revision, sub: change.sub).key(isDeletion: change.isDeletion)
        guard change.isDeletion else {
            return try key.withRawBytes { key throws(StoreError) in try add(key, change.keyValue) }
        }
        var message = WireWriter(capacity: 16)
        message.bytesField(1, try change.key())
        try add(key, message.bytes)
    }

    private func copy(_ table: RecordTable, _ looks: inout Int) throws(StoreError) -> Bool {
        while let (key, value) = try reader.nextRecord(of: table) {
            try add(key, value)
            if isEnough(&looks) { return false }
        }
        return true
    }

    /// In the order of the encoded bytes, which is not that of the records.
    private func alarms() throws(StoreError) -> [[UInt8]] {
        var alarms: [[UInt8]] = []
        while let (key, _) = try reader.nextRecord(of: .alarms) {
            guard let alarm = AlarmSet.Alarm(recordKey: Array(key)) else {
                throw .corrupt(place: "base/alarms", detail: "a record name that is no alarm")
            }
            var message = WireWriter(capacity: 16)
            message.uint64Field(1, alarm.memberID)
            message.int64Field(2, alarm.kind.rawValue)
            alarms.append(message.bytes)
        }
        return alarms.sorted { $0.lexicographicallyPrecedes($1) }
    }

    private static func lease(
        _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer
    ) throws(StoreError) -> [UInt8] {
        guard key.count == 8, value.count == 8 else {
            throw .corrupt(place: "base/leases", detail: "a record of \(key.count) and \(value.count) bytes")
        }
        var message = WireWriter(capacity: 24)
        message.int64Field(1, Int64(bigEndian: key.loadUnaligned(as: Int64.self)))
        message.int64Field(2, Int64(bigEndian: value.loadUnaligned(as: Int64.self)))
        return message.bytes
    }

    /// Those of Berth's settings that etcd has too.
    private func settings() throws(StoreError) -> [[UInt8]: [UInt8]] {
        var settings: [[UInt8]: [UInt8]] = [:]
        while let (key, value) = try reader.nextRecord(of: .meta) {
            let name = Array(key)
            if [EtcdName.authEnabled, EtcdName.authRevision, StateMachine.compactedToZeroKey].contains(name) {
                settings[name] = Array(value)
            }
        }
        return settings
    }

    private func addMeta() throws(StoreError) {
        let header = reader.header
        try add(EtcdName.confState, Array("{\"voters\":[\(member.id)],\"auto_leave\":false}".utf8))
        try add(EtcdName.consistentIndex, Self.bigEndian(header.appliedIndex.value))
        // All that compaction would take is left out above, so it counts as done.
        let wasCompactedToZero = try settings()[StateMachine.compactedToZeroKey] != nil
        let compacted = EtcdRevision(main: header.compactedRevision, sub: 0).key(isDeletion: false)
        if wasCompactedToZero || header.compactedRevision > .zero {
            try add(EtcdName.finishedCompaction, compacted)
            try add(EtcdName.scheduledCompaction, compacted)
        }
        try add(EtcdName.term, Self.bigEndian(header.appliedTerm.value))
    }

    /// What a cluster of this version of etcd writes there.
    private static let clusterVersion = "3.5.0"

    private static func bigEndian(_ number: UInt64) -> [UInt8] { withUnsafeBytes(of: number.bigEndian) { Array($0) } }

    private func add(_ key: [UInt8], _ value: [UInt8]) throws(StoreError) {
        try key.withRawBytes { key throws(StoreError) in
            try value.withRawBytes { value throws(StoreError) in try add(key, value) }
        }
    }

    private func add(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) throws(StoreError) {
        try making { () throws(BoltError) in try writer.add(key: key, value: value) }
    }

    private func making<Value>(_ body: () throws(BoltError) -> Value) throws(StoreError) -> Value {
        do throws(BoltError) {
            return try body()
        } catch {
            throw .corrupt(place: "base", detail: "etcd's file cannot be made of it: \(error)")
        }
    }
}

extension EtcdFileWalk.Member {
    /// As etcd keeps its members.
    fileprivate var json: String {
        let urls = clientURLs.map { Self.quoted($0) }.joined(separator: ",")
        return "{\"id\":\(id),\"peerURLs\":[],\"name\":\(Self.quoted(name)),\"clientURLs\":[\(urls)]}"
    }

    private static func quoted(_ text: String) -> String {
        let escaped = text.unicodeScalars.map { scalar in
            switch scalar {
            case "\"", "\\": "\\" + String(scalar)
            case "\u{0}"..<"\u{20}":
                "\\u00" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
            default: String(scalar)
            }
        }
        return "\"" + escaped.joined() + "\""
    }
}
