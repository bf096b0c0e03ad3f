import Glibc
import Store
import TestSupport
import Testing
import Vocabulary

/// Base after damage to its files: every answer right, or an error. Never a wrong one, never a crash.
@Suite struct DamageTests {
    @Test(arguments: Seeds.all)
    func `a flipped bit anywhere in base's files never gives a wrong answer`(seed: UInt64) throws {
        let victim = try Victim(seed: seed)
        var counts = [Outcome: Int]()
        for round in 0..<Self.rounds {
            let name = round % 8 == 7 ? "pages.sum" : "data.mdb"
            var flips: [(at: Int, bit: Int)] = []
            for _ in 0..<(round % 16 == 0 ? 3 : 1) {
                flips.append((victim.place(in: name), Int.random(in: 0..<8, using: &victim.random)))
            }
            try victim.copy { bytes in
                for flip in flips { bytes[flip.at] ^= 1 << UInt8(flip.bit) }
            } of: {
                $0 == name
            }
            let outcome = try victim.read(
                "flips in \(name) at \(flips)", background: round % 3 == 0, writes: round % 4 == 1)
            counts[outcome, default: 0] += 1
        }
        // Both must have happened, or this test tests nothing.
        #expect(counts[.refused, default: 0] > 0)
        #expect(counts[.right, default: 0] > 0)
        print("seed \(seed): \(counts.map { "\($0.key) \($0.value)" }.sorted().joined(separator: ", "))")
    }

    /// `BERTH_FLIPS=n` for more of them.
    private static let rounds = getenv("BERTH_FLIPS").flatMap { Int(String(cString: $0)) } ?? 100

    @Test(arguments: Seeds.all)
    func `a file cut short is refused, or lacks nothing`(seed: UInt64) throws {
        let victim = try Victim(seed: seed)
        for round in 0..<60 {
            let name = round % 4 == 3 ? "pages.sum" : "data.mdb"
            let size = victim.size(name)
            let length = round < 8 ? [0, 1, 100, 4_096, 8_191, 8_192, size - 1, size / 2][round] : victim.random(size)
            try victim.copy {
                $0.removeLast($0.count - min($0.count, length))
            } of: {
                $0 == name
            }
            let before = try victim.fingerprint()
            let outcome = try victim.read(
                "\(name) cut to \(length) of \(size)", background: false, writes: round % 2 == 0)
            if outcome == .refused { #expect(try victim.fingerprint() == before) }
            // All but what LMDB left unused at the end is needed.
            if length < size / 2 { #expect(outcome == .refused) }
        }
    }

    @Test(arguments: Seeds.all)
    func `pages swapped, zeroed, or put back from an older copy never give a wrong answer`(seed: UInt64) throws {
        let victim = try Victim(seed: seed)
        for round in 0..<60 {
            let pages = victim.size("data.mdb") / 4_096
            let first = victim.random(pages) * 4_096
            let second = victim.random(pages) * 4_096
            try victim.copy { bytes in
                switch round % 3 {
                case 0:
                    let page = Array(bytes[first..<(first + 4_096)])
                    bytes.replaceSubrange(first..<(first + 4_096), with: bytes[second..<(second + 4_096)])
                    bytes.replaceSubrange(second..<(second + 4_096), with: page)
                case 1: bytes.replaceSubrange(first..<(first + 4_096), with: [UInt8](repeating: 0, count: 4_096))
                default:
                    guard first + 4_096 <= victim.older.count else { return }
                    bytes.replaceSubrange(first..<(first + 4_096), with: victim.older[first..<(first + 4_096)])
                }
            } of: {
                $0 == "data.mdb"
            }
            _ = try victim.read("pages at \(first), \(second), kind \(round % 3)", background: false, writes: false)
        }
        // The whole file of an earlier time, under today's sums.
        try victim.copy {
            $0 = victim.older
        } of: {
            $0 == "data.mdb"
        }
        #expect(try victim.read("an older file", background: false, writes: false) == .refused)
    }
}

enum Outcome: String {
    case right
    case refused
}

/// A base with history, long keys, large values, many versions and records, as files to be damaged.
final class Victim {
    var random: SeededGenerator
    let model: Model
    private let folder: TestFolder
    private var files: [String: [UInt8]] = [:]
    /// `data.mdb` as it was some transactions before.
    private(set) var older: [UInt8] = []

    init(seed: UInt64) throws {
        random = SeededGenerator(seed: seed &* 7)
        folder = try TestFolder()
        let path = folder.path + "/data/base"
        let keys = (0..<60).map { "key\($0)".bytes } + boundaryKeys().filter { $0.count < 1_000 && $0.count % 5 == 0 }
        let workload = Workload(seed: seed, keys: keys)
        for session in 0..<2 {
            let store = try Store.open(folder.configuration { $0.sealRevisions = 300 })
            for batch in 0..<150 {
                try workload.batch(store)
                if batch % 20 == 0 { try workload.manyVersions(of: keys[session], store) }
                if batch % 30 == 29 { try store.writer.sealAndFlush(store) }
                while !store.writer.hasRoom { try store.flushSealed(upTo: store.durableIndex.next) }
            }
            store.close()
            if session == 0 { older = try contents(path + "/data.mdb") }
        }
        model = workload.model
        for name in ["data.mdb", "pages.sum"] { files[name] = try contents(path + "/" + name) }
    }

    func size(_ name: String) -> Int { files[name]?.count ?? 0 }

    func random(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &random) }

    /// Where to flip a bit: meta pages, page headers and anything else, each often enough.
    func place(in name: String) -> Int {
        let size = size(name)
        switch random(8) {
        case 0: return random(152) + random(2) * 4_096
        case 1, 2: return min(size - 1, random(size / 4_096) * 4_096 + random(48))
        default: return random(size)
        }
    }

    /// Writes the files anew, some of them changed.
    func copy(_ change: (inout [UInt8]) -> Void, of isChanged: (String) -> Bool) throws {
        for (name, bytes) in files {
            var bytes = bytes
            if isChanged(name) { change(&bytes) }
            let file = open(folder.path + "/data/base/" + name, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
            #expect(Glibc.write(file, bytes, bytes.count) == bytes.count)
            close(file)
        }
    }

    /// Both files, byte by byte.
    func fingerprint() throws -> [[UInt8]] {
        try ["data.mdb", "pages.sum"].map { try contents(folder.path + "/data/base/" + $0) }
    }

    /// Opens the store, reads all of it in a random order, and compares with the model.
    func read(_ what: String, background: Bool, writes: Bool) throws -> Outcome {
        do {
            var model = self.model
            for pass in 0..<(writes ? 2 : 1) {
                let store = try Store.open(
                    folder.configuration {
                        $0.verifiesInBackground = background
                        $0.youngMapBytes = 1 << 19
                    })
                defer { store.abandon() }
                try #require(store.writer.appliedIndex == model.applied, "\(what)")
                try #require(store.publishedRevision == model.current, "\(what)")
                try #require(store.compactedRevision == model.compacted, "\(what)")
                if writes, pass == 0 { try write(store, &model) }
                try readAll(store, model, what)
            }
            return .right
        } catch is StoreError {
            return .refused
        }
    }

    private func write(_ store: Store, _ model: inout Model) throws {
        for number in 0..<40 {
            let known = model.changes[random(model.changes.count)].key
            let key = number % 2 == 0 ? "new\(random(1_000))".bytes : known
            let revision = model.current.next
            let value = [UInt8](repeating: UInt8(number), count: random(5_000))
            try store.writer.put(key, value, at: revision)
            model.put(key, value, .none, revision, 0)
        }
        for table in RecordTable.allCases.prefix(3) {
            for key in (model.records[table] ?? [:]).keys.sorted(by: { $0.lexicographicallyPrecedes($1) }).prefix(3) {
                try store.writer.setRecord(table, key: key, value: nil)
                model.records[table]?[key] = nil
            }
        }
        model.applied = model.applied.next
        try store.writer.commitNext()
        try store.writer.sealAndFlush(store)
    }

    private func readAll(_ store: Store, _ model: Model, _ what: String) throws {
        var steps: [() throws -> Void] = []
        for key in model.byKey.keys.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            steps.append { [self] in try readKey(store, model, key, what) }
        }
        let keys = Array(model.byKey.keys).sorted { $0.lexicographicallyPrecedes($1) }
        for _ in 0..<6 {
            let range = KeyRange(key: keys[random(keys.count)], end: random(2) == 0 ? [0] : keys[random(keys.count)])
            steps.append { [self] in
                try store.withSnapshot { try Comparison(model).check($0, range: range, &random) }
            }
        }
        steps.append { try store.withSnapshot { try compareRecords($0, model) } }
        for step in steps.shuffled(using: &random) { try step() }
    }

    private func readKey(_ store: Store, _ model: Model, _ key: [UInt8], _ what: String) throws {
        try store.withSnapshot { snapshot in
            let oldest = max(model.compacted, .initial)
            for at in [model.current, Revision(Int64.random(in: oldest.value...model.current.value, using: &random))] {
                try #require(try snapshot.record(key, at: at) == model.record(key, at: at), "\(what)")
                guard let change = model.newest(key, at: at), change.value != nil else { continue }
                try #require(try snapshot.encoded(key, at: at) == encodedKeyValue(change), "\(what)")
            }
            // Never written, and a neighbour of one that was.
            let absent = key.dropLast() + [key[key.count - 1] ^ 1, 7]
            if model.byKey[Array(absent)] == nil {
                try #require(try snapshot.record(Array(absent)) == nil, "\(what)")
            }
        }
    }
}

func contents(_ path: String) throws -> [UInt8] {
    let file = open(path, O_RDONLY)
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: max(0, Int(lseek(file, 0, SEEK_END))))
    let count = pread(file, &bytes, bytes.count, 0)
    try #require(count == bytes.count)
    return bytes
}

func compareRecords(_ snapshot: Snapshot, _ model: Model) throws {
    for table in RecordTable.allCases {
        var found: [[UInt8]: [UInt8]] = [:]
        try snapshot.forEachRecord(table) { key, value in
            found[Array(key)] = Array(value)
            return .next
        }
        try #require(found == model.records[table, default: [:]])
    }
}
