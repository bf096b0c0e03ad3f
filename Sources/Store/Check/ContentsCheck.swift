import CLMDB
import ProtobufWire
import Vocabulary

/// Holds what base's trees say against each other: index and history, lease records and keys, and the numbers in `meta`.
final class ContentsCheck {
    let reader: TreeReader
    let findings: Findings
    private let trees: [String: TreeRecord]
    /// Versions in the index.
    private var indexed = 0
    /// Attachments that are as they should be: a number for lease and key, which no two share but by an accident that a
    /// store of a billion attachments does not meet.
    private var attached: Set<Int> = []
    private var marks: Set<UInt64> = []
    private var usedBuckets: Set<UInt64> = []

    init(_ file: PageFile, _ trees: [String: TreeRecord], _ findings: Findings) {
        reader = TreeReader(file)
        self.trees = trees
        self.findings = findings
    }

    func run(_ report: inout StoreCheck.Report, _ progress: (StoreCheck.Progress) -> Void) {
        for name in ["meta", "keys", "long_keys", "revisions", "leases", "lease_keys"] where trees[name] == nil {
            findings.add("base main tree", "there is no tree \(name)")
        }
        checkMeta(&report)
        checkIndex(&report, progress)
        checkLeases(&report, progress)
        checkHistory(&report, progress)
        guard indexed != report.revisions else { return }
        let before = findings.list.count + findings.omitted
        findUnstored()
        if findings.list.count + findings.omitted == before {
            findings.add("base", "\(indexed) versions are indexed, \(report.revisions) changes are stored")
        }
    }

    private func forEach(_ name: String, _ visit: (Node, UInt64) throws(StoreError) -> Void) {
        if let tree = trees[name] { reader.forEach(tree, findings, visit) }
    }

    private func entries(_ names: String...) -> Int { names.reduce(0) { $0 + Int(trees[$1]?.entries ?? 0) } }
}

// The numbers in `meta`.
extension ContentsCheck {
    private func checkMeta(_ report: inout StoreCheck.Report) {
        var numbers: [String: UInt64] = [:]
        forEach("meta") { (node, page) throws(StoreError) in
            let value = try reader.value(node, page)
            let name = String(decoding: node.key, as: UTF8.self)
            guard value.count == 8 else {
                throw .corrupt(place: "base/meta", detail: "\(name) has \(value.count) bytes, not 8")
            }
            numbers[name] = UInt64(bigEndian: value.number(0, UInt64.self))
        }
        func number(_ name: MetaTable.Name) -> UInt64 {
            if let number = numbers[name.rawValue] { return number }
            findings.add("base/meta", "\(name.rawValue) is missing")
            return 0
        }
        let format = number(.format)
        if format != Layout.formatVersion {
            findings.add("base/meta", "format version \(format), expected \(Layout.formatVersion)")
        }
        let (cluster, member) = (number(.clusterID), number(.memberID))
        if cluster != 0 { report.identity = MemberIdentity(clusterID: cluster, memberID: member) }
        report.appliedIndex = RaftIndex(number(.appliedIndex))
        report.appliedTerm = RaftTerm(number(.appliedTerm))
        report.currentRevision = Revision(Int64(bitPattern: number(.currentRevision)))
        report.compactedRevision = Revision(Int64(bitPattern: number(.compactedRevision)))
        guard report.currentRevision >= .initial, report.compactedRevision <= report.currentRevision else {
            return findings.add(
                "base/meta", "current revision \(report.currentRevision), compacted \(report.compactedRevision)")
        }
        let done = Int64(bitPattern: numbers[MetaTable.Name.compactionDone.rawValue] ?? 0)
        if Revision(done) > report.compactedRevision {
            findings.add("base/meta", "compaction is done to \(done), but was asked to \(report.compactedRevision)")
        }
    }
}

// The index by itself.
extension ContentsCheck {
    private func checkIndex(_ report: inout StoreCheck.Report, _ progress: (StoreCheck.Progress) -> Void) {
        var keys = 0
        let total = entries("keys", "long_keys")
        for name in ["keys", "long_keys"] {
            forEach(name) { (node, page) throws(StoreError) in
                if name == "long_keys" { usedBuckets.insert(LongKeys.number(ofKey: MDB_val(node.key))) }
                if node.key.count == LongKeys.markSize {
                    let mark = try LongKeys.number(ofMark: MDB_val(try reader.value(node, page)))
                    if !marks.insert(mark).inserted { findings.add("base \(name)", "two buckets have number \(mark)") }
                    return
                }
                if try isLive(try IndexedVersions(reader, node, page), name, node.key) { keys += 1 }
                if indexed % 65_536 == 0 { progress(.init(stage: .index, done: indexed, total: total)) }
            }
        }
        for bucket in marks.symmetricDifference(usedBuckets).sorted() {
            findings.add(
                "base long_keys", "bucket \(bucket) is " + (marks.contains(bucket) ? "empty" : "not marked anywhere"))
        }
        report.keys = keys
        progress(.init(stage: .index, done: total, total: total))
    }

    /// Looks at the versions of a key one after the other. True: the newest is no deletion.
    private func isLive(
        _ versions: IndexedVersions, _ tree: String, _ key: UnsafeRawBufferPointer
    ) throws(StoreError) -> Bool {
        var previous: KeyRecord?
        try versions.forEach { record in
            indexed += 1
            let place = "base \(tree) \(Self.text(key)), revision \(record.modRevision).\(record.modSub)"
            if record.isTombstone {
                if previous?.isTombstone == true { findings.add(place, "a deletion after a deletion") }
                if record.version != 0 || record.lease != .none || record.createRevision != .zero {
                    findings.add(place, "a deletion with the marks of a version")
                }
            } else if let previous, !previous.isTombstone {
                if record.version != previous.version + 1 || record.createRevision != previous.createRevision {
                    findings.add(place, "\(record) does not follow \(previous)")
                }
            } else if previous != nil || record.version == 1 {
                if record.version != 1 || record.createRevision != record.modRevision {
                    findings.add(place, "\(record) is not the first of its life")
                }
            } else if record.version < 1 || record.createRevision > record.modRevision || record.createRevision < .zero
            {
                findings.add(place, "\(record) cannot be")
            }
            previous = record
        }
        guard let previous else { throw .corrupt(place: "base \(tree) \(Self.text(key))", detail: "no version") }
        return !previous.isTombstone
    }

    /// Where a user key stands in the index.
    func versions(of key: UnsafeRawBufferPointer) throws(StoreError) -> IndexedVersions? {
        guard !key.isEmpty, var tree = trees["keys"] else { return nil }
        var rest = key
        var prefix: [UInt8] = []
        while true {
            let room = LongKeys.plainLimit - prefix.count
            let isAtEnd = rest.count <= room
            let place = prefix + rest.prefix(room) + (isAtEnd ? [] : [0])
            let found = try place.withRawBytes { place throws(StoreError) in try reader.find(place, in: tree) }
            guard let found else { return nil }
            if isAtEnd { return try IndexedVersions(reader, found.node, found.page) }
            let number = try LongKeys.number(ofMark: MDB_val(try reader.value(found.node, found.page)))
            prefix = withUnsafeBytes(of: number.bigEndian) { Array($0) }
            rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(room))
            guard let long = trees["long_keys"] else { return nil }
            tree = long
        }
    }

    /// The beginning of a key for people.
    static func text(_ key: UnsafeRawBufferPointer) -> String {
        let shown = key.prefix(48).map { (32..<127).contains($0) ? String(UnicodeScalar($0)) : "\\x" + hex($0) }
        return "\"" + shown.joined() + (key.count > 48 ? "..." : "") + "\""
    }

    private static func hex(_ byte: UInt8) -> String { (byte < 16 ? "0" : "") + String(byte, radix: 16) }
}

// Leases, as the state machine lays them out: a lease is its number, 8 bytes big-endian; an attachment is the lease's
// number, then main (8) and sub revision (4) of the write that made it, with the key as its value.
extension ContentsCheck {
    private func checkLeases(_ report: inout StoreCheck.Report, _ progress: (StoreCheck.Progress) -> Void) {
        report.leases = entries("leases")
        report.attachments = entries("lease_keys")
        var done = 0
        forEach("lease_keys") { (node, page) throws(StoreError) in
            done += 1
            if done % 65_536 == 0 { progress(.init(stage: .leases, done: done, total: report.attachments)) }
            let key = try reader.value(node, page)
            guard node.key.count == 20 else {
                throw .corrupt(place: "base lease_keys", detail: "a record's name of \(node.key.count) bytes, not 20")
            }
            let lease = LeaseID(Int64(bitPattern: UInt64(bigEndian: node.key.number(0, UInt64.self))))
            let place = "base lease_keys, lease \(lease), key \(Self.text(key))"
            guard let leases = trees["leases"],
                try reader.find(UnsafeRawBufferPointer(rebasing: node.key[..<8]), in: leases) != nil
            else { throw .corrupt(place: place, detail: "there is no such lease") }
            guard let record = try versions(of: key)?.newest(), !record.isTombstone else {
                throw .corrupt(place: place, detail: "there is no such key")
            }
            guard record.lease == lease else {
                throw .corrupt(place: place, detail: "the key's newest version hangs on lease \(record.lease)")
            }
            let made = Int64(bitPattern: UInt64(bigEndian: node.key.number(8, UInt64.self)))
            if made > record.modRevision.value {
                findings.add(
                    place, "attached at revision \(made), but the key was last written at \(record.modRevision)")
            }
            if !attached.insert(Self.mark(lease, key)).inserted { findings.add(place, "attached twice") }
        }
        progress(.init(stage: .leases, done: report.attachments, total: report.attachments))
    }

    private static func mark(_ lease: LeaseID, _ key: UnsafeRawBufferPointer) -> Int {
        var hasher = Hasher()
        hasher.combine(lease)
        hasher.combine(bytes: key)
        return hasher.finalize()
    }
}

// The history against the index.
extension ContentsCheck {
    private func checkHistory(_ report: inout StoreCheck.Report, _ progress: (StoreCheck.Progress) -> Void) {
        var stored = 0
        var newest = Revision.zero
        let total = entries("revisions")
        forEach("revisions") { (node, page) throws(StoreError) in
            stored += 1
            if stored % 65_536 == 0 { progress(.init(stage: .revisions, done: stored, total: total)) }
            let (main, sub) = try Layout.revision(of: MDB_val(node.key), place: "base/revisions")
            newest = max(newest, main)
            try checkChange(main, sub, try reader.value(node, page))
        }
        report.revisions = stored
        let current = report.currentRevision
        // A restore may raise the revision, and compacts to it; then nothing need be stored there.
        let isRaised = newest < current && report.compactedRevision == current
        if newest > .zero || current > .initial, newest != current, !isRaised,
            !(newest == .zero && current == .initial)
        {
            findings.add("base/meta", "current revision \(current), but the newest stored is \(newest)")
        }
        progress(.init(stage: .revisions, done: total, total: total))
    }

    private func checkChange(
        _ main: Revision, _ sub: UInt32, _ bytes: UnsafeRawBufferPointer
    ) throws(StoreError) {
        func refuse(_ detail: String) -> StoreError {
            .corrupt(place: "base revisions, revision \(main).\(sub)", detail: detail)
        }
        guard let kind = bytes.first, kind == Layout.liveKind || kind == Layout.tombstoneKind else {
            throw refuse("its first byte is of no kind of change")
        }
        let stored: StoredFields
        do {
            stored = try StoredFields(UnsafeRawBufferPointer(rebasing: bytes.dropFirst()))
        } catch {
            throw refuse("its key-value is no protobuf message: \(error)")
        }
        guard let key = stored.key, let versions = try versions(of: key) else { throw refuse("its key is not indexed") }
        guard let record = try versions.version(main, sub) else {
            throw refuse("key \(Self.text(key)) is indexed without it")
        }
        let isDeletion = kind == Layout.tombstoneKind
        guard record.isTombstone == isDeletion, stored.mod == main.value, stored.create == record.createRevision.value,
            stored.version == record.version, stored.lease == record.lease.value
        else {
            throw refuse(
                "key \(Self.text(key)) is stored with create \(stored.create) mod \(stored.mod) version "
                    + "\(stored.version) lease \(stored.lease)\(isDeletion ? ", deleted" : ""), and indexed with \(record)"
                    + (record.isTombstone ? ", deleted" : ""))
        }
        guard !isDeletion, record.lease != .none, try versions.newest() == record else { return }
        if !attached.contains(Self.mark(record.lease, key)) {
            throw refuse("key \(Self.text(key)) hangs on lease \(record.lease), which has no record of it")
        }
    }

    /// Each change has been looked for in its key's versions. So when all were found and there are as many versions as
    /// changes, each version has its change; when the numbers differ, this finds those that have none, or another key's.
    private func findUnstored() {
        guard let revisions = trees["revisions"] else { return }
        for name in ["keys", "long_keys"] {
            forEach(name) { (node, page) throws(StoreError) in
                guard node.key.count != LongKeys.markSize else { return }
                try IndexedVersions(reader, node, page).forEach { record throws(StoreError) in
                    try withUnsafeTemporaryAllocation(byteCount: Layout.revisionKeySize, alignment: 8) {
                        bytes throws(StoreError) in
                        guard let address = bytes.baseAddress else { return }
                        Layout.storeRevisionKey(record.modRevision, record.modSub, at: address)
                        if let found = try reader.find(UnsafeRawBufferPointer(bytes), in: revisions) {
                            let stored = try reader.value(found.node, found.page).dropFirst()
                            let key = try? StoredFields(UnsafeRawBufferPointer(rebasing: stored)).key
                            if let key, Self.fits(key, entry: node.key, in: name) { return }
                        }
                        findings.add(
                            "base \(name) \(Self.text(node.key))",
                            "revision \(record.modRevision).\(record.modSub) is indexed but not stored")
                    }
                }
            }
        }
    }
}

extension ContentsCheck {
    /// Whether a user key can stand at this entry of the index; of a long key only its end is compared.
    private static func fits(_ key: UnsafeRawBufferPointer, entry: UnsafeRawBufferPointer, in tree: String) -> Bool {
        if tree == "keys" { return key.elementsEqual(entry) }
        let rest = entry.dropFirst(LongKeys.numberSize)
        return key.suffix(rest.count).elementsEqual(rest)
    }
}

/// What an encoded `mvccpb.KeyValue` says.
private struct StoredFields {
    var key: UnsafeRawBufferPointer?
    var create: Int64 = 0
    var mod: Int64 = 0
    var version: Int64 = 0
    var lease: Int64 = 0

    init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = WireReader(bytes)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: key = try reader.bytes(of: field)
            case 2: create = try reader.int64(of: field)
            case 3: mod = try reader.int64(of: field)
            case 4: version = try reader.int64(of: field)
            case 6: lease = try reader.int64(of: field)
            default: try reader.skip(field)
            }
        }
    }
}
