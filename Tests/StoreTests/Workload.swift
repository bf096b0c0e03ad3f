import Store
import Synchronization
import TestSupport
import Testing
import Vocabulary

/// Drives a store and the model through the same random life, and compares them.
final class Workload {
    private(set) var random: SeededGenerator
    private let keys: [[UInt8]]
    private(set) var model = Model()
    /// The model after each log entry that ended a batch, to go back to after a crash.
    private var past: [RaftIndex: Model] = [:]
    /// What readers on other threads compare with: the model by revision.
    let published = PublishedModels()

    init(seed: UInt64, keys: [[UInt8]]) {
        random = SeededGenerator(seed: seed)
        self.keys = keys
        past[.zero] = model
        published.set(model)
    }

    func chance(_ n: Int) -> Bool { Int.random(in: 0..<n, using: &random) == 0 }

    func key() -> [UInt8] { keys[Int.random(in: 0..<keys.count, using: &random)] }

    func range() -> KeyRange {
        switch Int.random(in: 0..<6, using: &random) {
        case 0: .all
        case 1: KeyRange(key: key(), end: [])
        case 2: KeyRange(key: key(), end: [0])
        case 3: KeyRange(key: Array(key().prefix(Int.random(in: 1...3, using: &random))), end: key())
        default: KeyRange(key: key(), end: key())
        }
    }

    /// Applies some entries as one batch, to both.
    func batch(_ store: Store) throws {
        let writer = store.writer
        for _ in 0..<Int.random(in: 1...6, using: &random) {
            model.applied = RaftIndex(model.applied.value + 1)
            switch Int.random(in: 0..<20, using: &random) {
            case 0: try compact(writer)
            case 1, 2: try setRecord(writer)
            case 3: break
            default: try change(writer)
            }
            if chance(4) {
                try compare(try writer.view, with: model)
            }
        }
        published.set(model)
        past[model.applied] = model
        try writer.commit(appliedIndex: model.applied, term: RaftTerm(1))
        #expect(store.publishedRevision == model.current)
        #expect(store.compactedRevision == model.compacted)
    }

    /// Writes one key so often that its versions need a tree of their own.
    func manyVersions(of key: [UInt8], _ store: Store) throws {
        for number in 0..<120 {
            let revision = model.current.next
            let value = [UInt8(truncatingIfNeeded: number)]
            try store.writer.put(key, value, at: revision)
            model.put(key, value, .none, revision, 0)
        }
        model.applied = model.applied.next
        published.set(model)
        past[model.applied] = model
        try store.writer.commit(appliedIndex: model.applied, term: RaftTerm(1))
    }

    private func change(_ writer: StoreWriter) throws {
        let revision = model.current.next
        var sub: UInt32 = 0
        var touched: Set<[UInt8]> = []
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            let key = key()
            guard touched.insert(key).inserted else { continue }
            if chance(3) {
                let existed = try writer.delete(key, at: revision, sub: sub)
                #expect(existed == (model.record(key, at: revision) != nil))
                guard existed else { continue }
                model.delete(key, revision, sub)
            } else {
                let long = chance(40) ? 9_000 : 60
                let value = (0..<Int.random(in: 0...long, using: &random)).map { UInt8(truncatingIfNeeded: $0) }
                let lease = LeaseID(chance(3) ? Int64.random(in: .min ... .max, using: &random) : 0)
                let record = try writer.put(key, value, lease: lease, at: revision, sub: sub)
                model.put(key, value, lease, revision, sub)
                #expect(record == model.record(key, at: revision))
            }
            sub += 1
        }
    }

    private func compact(_ writer: StoreWriter) throws {
        let target = Revision(Int64.random(in: 1...model.current.value, using: &random))
        guard target > model.compacted else {
            #expect(throws: StoreError.compacted(requested: target, compacted: model.compacted)) {
                try writer.compact(to: target)
            }
            return
        }
        try writer.compact(to: target)
        model.compacted = target
    }

    private func setRecord(_ writer: StoreWriter) throws {
        let table = RecordTable.allCases[Int.random(in: 0..<3, using: &random)]
        let key = key()
        let value = chance(3) ? nil : Array(key.reversed())
        try writer.setRecord(table, key: key, value: value)
        model.records[table, default: [:]][key] = value
    }

    /// After a crash: the model as it was at the last entry that reached base.
    func goBack(to store: Store) throws {
        model = try #require(past[store.writer.appliedIndex])
        #expect(store.publishedRevision == model.current)
        #expect(store.compactedRevision == model.compacted)
        for index in past.keys where index > model.applied { past[index] = nil }
        published.restart(with: model)
    }

    func compare(_ snapshot: Snapshot, with model: Model) throws {
        try Comparison(model).check(snapshot, range: range(), &random)
    }

    func compareRecords(_ snapshot: Snapshot) throws {
        for table in RecordTable.allCases {
            var found: [[UInt8]: [UInt8]] = [:]
            var previous: [UInt8] = []
            try snapshot.forEachRecord(table) { key, value in
                #expect(previous.lexicographicallyPrecedes(key))
                previous = Array(key)
                found[previous] = Array(value)
                return .next
            }
            #expect(found == model.records[table, default: [:]])
        }
    }
}

/// Compares what a snapshot shows with the model.
struct Comparison {
    let model: Model
    init(_ model: Model) { self.model = model }

    func check(_ snapshot: Snapshot, range: KeyRange, _ random: inout SeededGenerator) throws {
        let oldest = max(snapshot.compactedRevision, .initial)
        let revision = Revision(Int64.random(in: oldest.value...snapshot.revision.value, using: &random))
        for at in Set([revision, snapshot.revision]) {
            let expected = model.keys(in: range, at: at)
            let found = try snapshot.keys(in: range, at: at)
            try #require(found.map(\.key) == expected.map(\.key))
            try #require(found.map(\.record) == expected.map(\.record))
            #expect(try snapshot.count(in: range, at: at) == expected.count)
            for (key, record) in found.shuffled(using: &random).prefix(4) {
                let change = try #require(model.newest(key, at: at))
                #expect(Array(try snapshot.keyValue(of: record)) == encodedKeyValue(change))
                #expect(try snapshot.record(key, at: at) == record)
            }
        }
        try checkHistory(snapshot, from: revision)
        if snapshot.compactedRevision > .zero {
            let lost = snapshot.compactedRevision.previous
            let error = StoreError.compacted(requested: lost, compacted: snapshot.compactedRevision)
            #expect(throws: error) { try snapshot.count(in: .all, at: lost) }
            #expect(throws: error) { try snapshot.forEachChange(from: lost, through: lost) { _ in .next } }
        }
    }

    private func checkHistory(_ snapshot: Snapshot, from start: Revision) throws {
        let end = Revision(min(snapshot.revision.value, start.value + 50))
        var expected = model.history(from: start, through: end)[...]
        try snapshot.forEachChange(from: start, through: end) { change in
            let next = try #require(expected.first)
            expected = expected.dropFirst()
            #expect(change.revision == next.revision)
            #expect(change.sub == next.sub)
            #expect(change.isDeletion == (next.value == nil))
            #expect(Array(change.keyValue) == encodedKeyValue(next))
            return .next
        }
        #expect(expected.isEmpty)
    }
}

/// The model as of each published revision, for readers on other threads.
final class PublishedModels: Sendable {
    private let models = Mutex<[Revision: Model]>([:])

    func set(_ model: Model) { models.withLock { $0[model.current] = model } }

    func restart(with model: Model) { models.withLock { $0 = [model.current: model] } }

    func model(at revision: Revision) -> Model? { models.withLock { $0[revision] } }

    /// Reads and compares on a thread of its own until the store closes. Counts its reads.
    func startReader(_ store: Store, _ ranges: [KeyRange], seed: UInt64, _ reads: ReadCount) -> TestThread {
        TestThread { [self] in
            var random = SeededGenerator(seed: seed)
            do {
                while true {
                    let range = ranges[Int.random(in: 0..<ranges.count, using: &random)]
                    try store.withSnapshot { (snapshot: Snapshot) throws in
                        let model = try #require(self.model(at: snapshot.revision))
                        try Comparison(model).check(snapshot, range: range, &random)
                    }
                    reads.add()
                }
            } catch StoreError.closed {
            } catch {
                Issue.record(error, "a reader failed")
            }
        }
    }
}

/// Counts over threads.
final class ReadCount: Sendable {
    private let count = Atomic<Int>(0)
    var value: Int { count.load(ordering: .relaxed) }
    func add() { count.wrappingAdd(1, ordering: .relaxed) }
}
