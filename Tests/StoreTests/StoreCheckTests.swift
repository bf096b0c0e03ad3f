import Glibc
import Store
import TestSupport
import Testing
import Vocabulary

/// The offline check: silent on what stores do by themselves, and sharp on damage that checksums do not show.
@Suite struct StoreCheckTests {
    @Test(arguments: Seeds.all)
    func `nothing is found after a random life with leases`(seed: UInt64) throws {
        let folder = try TestFolder()
        let life = try LeasedLife(folder, seed: seed)
        let report = try StoreCheck.run(directory: folder.path + "/data")
        #expect(report.findings == [])
        #expect(report.identity == life.identity)
        #expect(report.appliedIndex == life.applied)
        #expect(report.currentRevision == life.revision)
        #expect(report.keys == life.keys.count)
        #expect(report.leases == LeasedLife.leases.count)
        #expect(report.attachments == life.keys.values.count { $0 != .none })
        #expect(report.verifiedPages == report.usedPages)
        #expect(report.usedPages > 10)
    }

    @Test func `it changes nothing, makes nothing, and tells how far it is`() throws {
        let folder = try TestFolder()
        _ = try LeasedLife(folder, seed: 1)
        let names = ["base/data.mdb", "base/pages.sum", "lock"]
        let before = try names.map { try contents(folder.path + "/data/" + $0) }
        var stages: [StoreCheck.Progress.Stage] = []
        _ = try StoreCheck.run(directory: folder.path + "/data") { progress in
            #expect(progress.done <= progress.total)
            if stages.last != progress.stage { stages.append(progress.stage) }
        }
        #expect(stages == [.pages, .index, .leases, .revisions])
        #expect(try names.map { try contents(folder.path + "/data/" + $0) } == before)
    }

    @Test func `a folder in use, none at all, and one without base are told apart`() throws {
        let folder = try TestFolder()
        let path = folder.path + "/data"
        #expect(throws: StoreError.folderMissing(path: path)) { try StoreCheck.run(directory: path) }
        let store = try Store.open(folder.configuration())
        #expect(throws: StoreError.heldByAnother(path: path, pid: getpid())) { try StoreCheck.run(directory: path) }
        store.close()
        let report = try StoreCheck.run(directory: folder.path)
        #expect(report.findings.map(\.detail) == ["the file is missing"])
        #expect(access(folder.path + "/lock", F_OK) != 0)
    }

    private struct Plant: Sendable {
        let what: String
        let expected: String
        let plant: @Sendable (LeasedLife, String) throws -> Void
    }

    private static func bigEndian(_ number: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: number.bigEndian) { Array($0) }
    }

    private static func revisionKey(_ main: Revision, _ sub: UInt32 = 0) -> [UInt8] {
        bigEndian(main.value) + bigEndian(sub)
    }

    private static func record(_ main: Revision, create: Revision, version: Int64, lease: LeaseID = .none) -> [UInt8] {
        revisionKey(main) + bigEndian(UInt32(0)) + bigEndian(create.value) + bigEndian(version)
            + bigEndian(lease.value)
    }

    private static let plants: [Plant] = [
        Plant(what: "a version without its change", expected: "is indexed but not stored") { life, path in
            let mod = life.revision
            try Store.plant(
                path, "keys", "planted".bytes, put: record(mod.previous, create: mod.previous, version: 1))
        },
        Plant(what: "a change without its version", expected: "its key is not indexed") { life, path in
            let change = Model.Change(
                revision: life.revision, sub: 9, key: "planted".bytes, value: [],
                record: KeyRecord(
                    createRevision: life.revision, modRevision: life.revision, modSub: 9, version: 1, lease: .none))
            try Store.plant(
                path, "revisions", revisionKey(life.revision, 9), put: [0] + encodedKeyValue(change))
        },
        Plant(what: "a change that says another version", expected: "and indexed with") { life, path in
            let (main, key) = life.plain
            let change = Model.Change(
                revision: main, sub: 0, key: key, value: [],
                record: KeyRecord(createRevision: main, modRevision: main, modSub: 0, version: 7, lease: .none))
            try Store.plant(path, "revisions", revisionKey(main), put: [0] + encodedKeyValue(change))
        },
        Plant(what: "a version that does not follow", expected: "does not follow") { life, path in
            let (main, key) = life.plain
            try Store.plant(path, "keys", key, put: record(main.next, create: main, version: 5))
        },
        Plant(what: "an attachment to no lease", expected: "there is no such lease") { life, path in
            try Store.plant(
                path, "lease_keys", bigEndian(Int64(777)) + revisionKey(Revision(2)), put: life.plain.key)
        },
        Plant(what: "an attachment of no key", expected: "there is no such key") { _, path in
            try Store.plant(
                path, "lease_keys", bigEndian(LeasedLife.leases[0].value) + revisionKey(Revision(2)),
                put: "absent".bytes)
        },
        Plant(what: "an attachment of a key on no lease", expected: "newest version hangs on lease") { life, path in
            try Store.plant(
                path, "lease_keys", bigEndian(LeasedLife.leases[0].value) + revisionKey(Revision(2)),
                put: life.plain.key)
        },
        Plant(what: "a key on a lease without a record", expected: "which has no record of it") { life, path in
            let (key, name) = try #require(life.attachments.first)
            try Store.plant(path, "lease_keys", name, remove: key)
        },
        Plant(what: "a lease that is gone", expected: "there is no such lease") { life, path in
            let name = try #require(life.attachments.values.first)
            try Store.plant(
                path, "leases", Array(name.prefix(8)), remove: bigEndian(Int64(60)))
        },
        Plant(what: "a current revision behind the newest", expected: "but the newest stored is") { life, path in
            try Store.plant(path, "meta", "current_revision".bytes, put: bigEndian(life.revision.previous.value))
        },
        Plant(what: "a compacted revision in the future", expected: "current revision") { life, path in
            try Store.plant(path, "meta", "compacted_revision".bytes, put: bigEndian(life.revision.next.value))
        },
        Plant(what: "no member's number", expected: "member_id is missing") { life, path in
            try Store.plant(path, "meta", "member_id".bytes, remove: bigEndian(life.identity.memberID))
        },
        Plant(what: "a bucket without a mark", expected: "is not marked anywhere") { _, path in
            try Store.plant(
                path, "long_keys", bigEndian(Int64(99)) + "x".bytes,
                put: record(Revision(2), create: Revision(2), version: 1))
        },
    ]

    @Test func `planted damage that no checksum shows is found`() throws {
        for plant in Self.plants {
            let folder = try TestFolder()
            let life = try LeasedLife(folder, seed: 3)
            try plant.plant(life, folder.path + "/data/base")
            let report = try StoreCheck.run(directory: folder.path + "/data")
            #expect(
                report.findings.contains { $0.description.contains(plant.expected) },
                "\(plant.what): \(report.findings)")
            #expect(report.findings.allSatisfy { !$0.detail.contains("checksum") }, "\(plant.what)")
        }
    }

    @Test(arguments: Seeds.all)
    func `a flipped bit in a page in use is found, wherever it is`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let folder = try TestFolder()
        _ = try LeasedLife(folder, seed: seed)
        let path = folder.path + "/data/base/data.mdb"
        let good = try contents(path)
        let clean = try StoreCheck.run(directory: folder.path + "/data")
        var found = 0
        for _ in 0..<200 {
            let place = Int.random(in: 0..<good.count, using: &random)
            let file = open(path, O_WRONLY)
            #expect(pwrite(file, [good[place] ^ 1 << UInt8.random(in: 0..<8, using: &random)], 1, off_t(place)) == 1)
            let report = try StoreCheck.run(directory: folder.path + "/data")
            if !report.findings.isEmpty { found += 1 }
            // What is found in a page is found by its checksum, too; free pages may hold anything.
            #expect(pwrite(file, [good[place]], 1, off_t(place)) == 1)
            close(file)
        }
        let share = Double(clean.usedPages) / Double(clean.usedPages + clean.freePages + 2)
        #expect(Double(found) > 200 * share * 0.7)
        #expect(found < 200)
    }

    @Test func `more damage than anyone reads is counted only`() throws {
        let folder = try TestFolder()
        let store = try Store.open(folder.configuration())
        for number in 0..<1_500 {
            try store.writer.put(
                "key\(number)".bytes, [], lease: LeaseID(5), at: Revision(Int64(number + 2)))
        }
        try store.writer.commitNext()
        store.close()
        let report = try StoreCheck.run(directory: folder.path + "/data")
        #expect(report.findings.count == StoreCheck.findingLimit)
        #expect(report.omittedFindings == 500)
    }
}

/// A store's life with leases, long keys, deletions and compactions, its attachments kept as a state machine keeps them.
final class LeasedLife {
    static let leases = (1...5).map { LeaseID($0 << 40) }

    private var random: SeededGenerator
    private(set) var revision = Revision.initial
    private(set) var applied = RaftIndex.zero
    /// Keys that exist, and their leases.
    private(set) var keys: [[UInt8]: LeaseID] = [:]
    /// Keys to the names of their attachments.
    private(set) var attachments: [[UInt8]: [UInt8]] = [:]
    /// The last key written, once, without a lease, and when.
    private(set) var plain: (main: Revision, key: [UInt8])
    let identity: MemberIdentity

    init(_ folder: TestFolder, seed: UInt64) throws {
        random = SeededGenerator(seed: seed)
        plain = (.zero, [])
        let store = try Store.open(folder.configuration { $0.sealRevisions = 200 })
        identity = store.identity
        for lease in Self.leases {
            try store.writer.setRecord(.leases, key: Self.bytes(lease.value), value: Self.bytes(Int64(60)))
        }
        let names = (0..<80).map { "key\($0)".bytes } + boundaryKeys().filter { $0.count < 1_500 && $0.count % 5 == 0 }
        for step in 0..<1_500 {
            try change(store, names[Int.random(in: 0..<(step % 3 == 0 ? 3 : names.count), using: &random)])
            if step % 10 == 9 { try commit(store) }
            if step % 400 == 399 {
                let target = Revision(Int64.random(in: (revision.value / 2)...revision.value, using: &random))
                if target > store.compactedRevision { try store.writer.compact(to: target) }
                try commit(store)
                try store.writer.sealAndFlush(store)
            }
        }
        revision = revision.next
        plain = (revision, "plain".bytes)
        try store.writer.put("plain".bytes, [], at: revision)
        keys["plain".bytes] = LeaseID.none
        // And something behind it, so that the newest revision is another one.
        try change(store, "last".bytes, isDeletion: false)
        try commit(store)
        store.close()
    }

    private func commit(_ store: Store) throws {
        try store.writer.commitNext()
        applied = store.writer.appliedIndex
        while !store.writer.hasRoom { try store.flushSealed(upTo: store.durableIndex.next) }
    }

    private func change(_ store: Store, _ key: [UInt8], isDeletion: Bool? = nil) throws {
        let isDeletion = isDeletion ?? (keys[key] != nil && Int.random(in: 0..<4, using: &random) == 0)
        revision = revision.next
        let old = keys[key]
        let lease = Bool.random(using: &random) ? LeaseID.none : Self.leases.randomElement(using: &random) ?? .none
        if isDeletion {
            try store.writer.delete(key, at: revision)
            keys[key] = nil
        } else {
            let value = [UInt8](repeating: 7, count: Int.random(in: 0..<3_000, using: &random))
            try store.writer.put(key, value, lease: lease, at: revision)
            keys[key] = lease
        }
        guard isDeletion || old != lease else { return }
        if let name = attachments.removeValue(forKey: key) {
            try store.writer.setRecord(.leaseKeys, key: name, value: nil)
        }
        guard !isDeletion, lease != .none else { return }
        let name = Self.bytes(lease.value) + Self.bytes(revision.value) + [0, 0, 0, 0]
        try store.writer.setRecord(.leaseKeys, key: name, value: key)
        attachments[key] = name
    }

    private static func bytes(_ number: Int64) -> [UInt8] { withUnsafeBytes(of: number.bigEndian) { Array($0) } }
}
