import Store
import TestSupport
import Testing
import Vocabulary

/// Keys of every length around the boundaries of LMDB's and the buckets' limits, many with the same beginning.
func boundaryKeys() -> [[UInt8]] {
    var keys: [[UInt8]] = ["a".bytes, "b".bytes, [0], [0, 0], [0xff], [0xff, 0xff]]
    for filler: UInt8 in [0x61, 0x00, 0xff] {
        for length in [488, 489, 490, 491, 492, 493, 900, 971, 972, 973, 974, 1_453, 1_454, 1_455, 1_456, 3_000] {
            let key = [UInt8](repeating: filler, count: length)
            keys.append(key)
            keys.append(key.dropLast() + [0])
            keys.append(key.dropLast() + [0xff])
            keys.append(key.dropLast(2) + [0, 1])
        }
    }
    return Array(Set(keys)).sorted { $0.lexicographicallyPrecedes($1) }
}

@Suite struct PropertyTests {
    @Test(arguments: Seeds.all)
    func `a store is its model through seals, flushes, compactions, restarts and crashes`(seed: UInt64) throws {
        let keys = (0..<40).map { "key\($0)".bytes } + boundaryKeys().filter { $0.count < 1_000 && $0.count % 3 == 0 }
        try live(seed: seed, keys: keys, sessions: 5, batches: 80, readers: 2)
    }

    @Test(arguments: Seeds.all)
    func `keys of every length stand in one order through all layers`(seed: UInt64) throws {
        try live(seed: seed, keys: boundaryKeys(), sessions: 3, batches: 60, readers: 1)
    }

    private func live(seed: UInt64, keys: [[UInt8]], sessions: Int, batches: Int, readers: Int) throws {
        let folder = try TestFolder()
        let workload = Workload(seed: seed, keys: keys)
        let reads = ReadCount()
        let ranges = (0..<50).map { _ in workload.range() }
        let configuration = folder.configuration {
            $0.sealRevisions = 200
            $0.youngMapBytes = 1 << 20
            $0.baseMapBytes = 1 << 18
            $0.compactionStep = 37
            $0.smallestHole = 1
            $0.onEvent = { event in
                switch event {
                case .flushFailed(let error, _), .compactionFailed(let error, _), .failed(let error):
                    Issue.record(error, "background work failed")
                case .flushed, .compacted, .defragmented, .mapGrown: break
                }
            }
        }
        for session in 0..<sessions {
            let store = try Store.open(configuration)
            try workload.goBack(to: store)
            try store.withSnapshot { try workload.compare($0, with: workload.model) }
            let threads = (0..<readers).map {
                workload.published.startReader(store, ranges, seed: seed &* 31 &+ UInt64(session * 8 + $0), reads)
            }
            for _ in 0..<batches {
                try workload.batch(store)
                if workload.chance(6) { try store.withSnapshot { try workload.compare($0, with: workload.model) } }
                if workload.chance(12) { try store.withSnapshot { try workload.compareRecords($0) } }
                if workload.chance(15) { _ = store.writer.seal() }
                if workload.chance(10) { store.defragment { _ in } }
                if workload.chance(40) { try store.writer.sealAndFlush(store) }
                while !store.writer.hasRoom { try store.flushSealed(upTo: store.durableIndex.next) }
            }
            try compareHashes(store, workload)
            if workload.chance(2) { store.close() } else { store.abandon() }
            for thread in threads { thread.join() }
        }
        #expect(reads.value > 0)
    }

    /// A store that lived another life to the same state, never flushed and never compacted physically, hashes alike.
    private func compareHashes(_ store: Store, _ workload: Workload) throws {
        let folder = try TestFolder()
        let other = try Store.open(folder.configuration { $0.youngMapBytes = 16 << 20 })
        let model = workload.model
        for change in model.changes {
            if let value = change.value {
                try other.writer.put(
                    change.key, value, lease: change.record.lease, at: change.revision, sub: change.sub)
            } else {
                try other.writer.delete(change.key, at: change.revision, sub: change.sub)
            }
        }
        for (table, records) in model.records {
            for (key, value) in records { try other.writer.setRecord(table, key: key, value: value) }
        }
        if model.compacted > .zero { try other.writer.compact(to: model.compacted) }
        try other.writer.commit(appliedIndex: RaftIndex(1), term: RaftTerm(1))
        let expected = try other.withSnapshot { try $0.hash() }
        #expect(try store.withSnapshot { try $0.hash() } == expected)
        #expect(try store.hash() == (expected, store.publishedRevision))
        #expect(try other.hash() == (expected, store.publishedRevision))
        other.close()
    }
}

extension RaftIndex {
    var next: RaftIndex { RaftIndex(value + 1) }
}
