import EtcdAPI
import FoundationEssentials
import GRPCTransport
import NIOCore
import SwiftProtobuf
import TestSupport
import Testing

/// Watches of a whole server: every event of the history once, in order, however the watch came to it.
@Suite(.timeLimit(.minutes(10))) struct WatchTests {
    @Test(arguments: Seeds.all)
    func `a stream that stops reading while thousands of puts go on gets every revision once, in order`(seed: UInt64)
        async throws
    {
        try await RunningServer.run { server in
            var random = SeededGenerator(seed: seed)
            let writer = await server.client()
            let watch = try await WatchClient(await server.client { $0.streamWindow = 65_536 })
            try await watch.create(id: 1, prefix: "k")
            let created = try await watch.next()
            let value = [UInt8](repeating: 9, count: 1_024)
            var last = created.header.revision
            var expected = last + 1
            for _ in 0..<4 {
                try await watch.setPaused(true)
                last = try await putMany(Int.random(in: 500...2_000, using: &random), value, writer)
                try await watch.setPaused(false)
                // The first half is read while nothing, the rest while more is written.
                let target = expected + (last - expected) / 2
                try await read(watch, &expected, until: target)
                let more = Int.random(in: 1...500, using: &random)
                async let written = putMany(more, value, writer)
                try await read(watch, &expected, until: last)
                last = try await written
                if Bool.random(using: &random) { try await read(watch, &expected, until: last) }
            }
            try await read(watch, &expected, until: last)
            // Nothing was left to come a second time.
            let end = try await writer.put("kend")
            try await read(watch, &expected, until: end)
        }
    }

    private func read(_ watch: WatchClient, _ expected: inout Int64, until last: Int64) async throws {
        while expected <= last {
            for event in try await watch.next().events {
                try #require(event.kv.modRevision == expected)
                expected += 1
            }
        }
    }

    /// - Returns: the last put's revision.
    private func putMany(_ count: Int, _ value: [UInt8], _ client: GRPCClient) async throws -> Int64 {
        try await withThrowingTaskGroup(of: Int64.self) { tasks in
            for number in 0..<count { tasks.addTask { try await client.put("k\(number % 100)", value) } }
            return try await tasks.reduce(0, max)
        }
    }

    /// A watch of the random test, and what it asked for.
    private struct Asked {
        let stream: Int
        let id: Int64
        var start: Int64
        let key: Int?
        let hasPrevious: Bool
        let drops: Etcdserverpb_WatchCreateRequest.FilterType?

        func holds(_ change: WatchHistory.Change) -> Bool {
            if let key, change.key != "k\(key)" { return false }
            switch drops {
            case .noput?: return change.value == nil
            case .nodelete?: return change.value != nil
            default: return true
            }
        }
    }

    @Test(arguments: Seeds.all)
    func `watches made at past, present and future starts during writes see exactly the history`(seed: UInt64)
        async throws
    {
        try await RunningServer.run { server in
            var random = SeededGenerator(seed: seed)
            let writer = await server.client()
            var history = WatchHistory()
            try await history.write(200, with: writer, keys: 12, valueBytes: 3_000, &random)

            var streams: [WatchClient] = []
            for _ in 0..<4 { streams.append(try await WatchClient(await server.client { $0.streamWindow = 65_536 })) }
            var asked: [Asked] = []
            for number in 0..<40 {
                let stream = Int.random(in: 0..<streams.count, using: &random)
                let now = history.lastRevision
                // 0 stands for "from now on".
                let starts = [
                    0, Int64.random(in: 1...now, using: &random), now, now + 1,
                    now + Int64.random(in: 2...150, using: &random),
                ]
                let start = starts.randomElement(using: &random) ?? 0
                let one = Asked(
                    stream: stream, id: Int64(number + 1), start: start,
                    key: Bool.random(using: &random) ? Int.random(in: 0..<12, using: &random) : nil,
                    hasPrevious: Bool.random(using: &random),
                    drops: [nil, nil, .noput, .nodelete].randomElement(using: &random) ?? nil)
                asked.append(one)
                if Int.random(in: 0..<3, using: &random) == 0 {
                    try await streams[stream].setPaused(Bool.random(using: &random))
                }
                try await streams[stream].create(
                    id: one.id, key: one.key.map { "k\($0)" } ?? "", prefix: one.key == nil ? "k" : "", from: start
                ) {
                    $0.prevKv = one.hasPrevious
                    if let drops = one.drops { $0.filters = [drops] }
                }
                try await history.write(
                    Int.random(in: 0...8, using: &random), with: writer, keys: 12, valueBytes: 3_000, &random)
            }
            // Past every future start, and once more on every key for what would come twice.
            try await history.write(160, with: writer, keys: 12, valueBytes: 3_000, &random)
            for step in UInt8(0)..<3 {
                let value: [UInt8]? = step == 1 ? nil : [step]
                try await history.write((0..<12).map { ("k\($0)", value) }, with: writer)
            }
            for stream in streams { try await stream.setPaused(false) }
            try await check(asked, streams, history)
        }
    }

    private func check(_ asked: [Asked], _ streams: [WatchClient], _ history: WatchHistory) async throws {
        for (number, stream) in streams.enumerated() {
            let mine = Dictionary(uniqueKeysWithValues: asked.filter { $0.stream == number }.map { ($0.id, $0) })
            var records: [Int64: WatchRecord] = [:]
            var expected: [Int64: [WatchHistory.Change]] = [:]
            while records.count < mine.count || records.contains(where: { $1.changes.count < expected[$0]?.count ?? 0 })
            {
                let response = try await stream.next()
                let id = response.watchID
                try #require(!response.canceled)
                var one = try #require(mine[id])
                if response.created {
                    try #require(records[id] == nil, "watch \(one) was created twice")
                    records[id] = WatchRecord()
                    if one.start == 0 { one.start = response.header.revision + 1 }
                    expected[id] = history.changes(from: one.start, where: one.holds)
                        .map { one.hasPrevious ? $0 : $0.withoutPrevious }
                    continue
                }
                try #require(records[id] != nil, "events of watch \(one) before its created answer")
                let before = records[id]?.changes.count ?? 0
                try records[id]?.add(response)
                let seen = records[id]?.changes[before...] ?? []
                let due = expected[id]?.dropFirst(before).prefix(seen.count) ?? []
                try #require(seen.elementsEqual(due), "watch \(one) at event \(before)")
            }
        }
    }

    @Test(arguments: Seeds.all)
    func `a watch cancelled and made again under the same id sees nothing of its first life`(seed: UInt64) async throws
    {
        try await RunningServer.run { server in
            var random = SeededGenerator(seed: seed)
            let writer = await server.client()
            let watch = try await WatchClient(await server.client { $0.streamWindow = 65_536 })
            let value = [UInt8](repeating: 1, count: 2_000)
            _ = try await putMany(400, value, writer)
            for _ in 0..<40 {
                let now = try await writer.put("k0", value)
                let start = Int64.random(in: 2...now + 20, using: &random)
                try await watch.create(id: 5, prefix: "k", from: start)
                let count = Int.random(in: 1...60, using: &random)
                async let written = putMany(count, value, writer)
                // Cancelled anywhere between its creation and its last event.
                for _ in 0..<Int.random(in: 0...3, using: &random) { _ = try await writer.range(prefix: "nothing") }
                try await watch.cancelWatch(5)
                try await watch.create(id: 5, key: "k1", from: now + 1)
                let last = max(try await written, try await writer.put("k1", value))

                var expected = start
                var life = 0
                var revision = Int64(0)
                while revision < last {
                    let response = try await watch.next()
                    try #require(response.watchID == 5)
                    if response.created {
                        life += 1
                    } else if response.canceled {
                        try #require(life == 1)
                        life = 2
                    } else if life == 1 {
                        for event in response.events {
                            try #require(event.kv.modRevision == expected)
                            expected += 1
                        }
                    } else {
                        try #require(life == 3, "events between cancel and creation")
                        for event in response.events {
                            try #require(event.kv.key == Data("k1".utf8) && event.kv.modRevision > max(revision, now))
                            revision = event.kv.modRevision
                        }
                    }
                }
                try await watch.cancelWatch(5)
                while !(try await watch.next().canceled) {}
            }
        }
    }

    @Test(arguments: Seeds.all)
    func `a progress answer never names a revision with events still to come`(seed: UInt64) async throws {
        try await RunningServer.run { server in
            var random = SeededGenerator(seed: seed)
            let writer = await server.client()
            let watch = try await WatchClient(await server.client { $0.streamWindow = 65_536 })
            try await watch.create(id: 1, prefix: "k")
            try await watch.create(id: 2, key: "k1")
            for _ in 0..<2 { #expect(try await watch.next().created) }
            let value = [UInt8](repeating: 1, count: 1_000)
            let first = try await writer.put("other")
            var answered = 0
            var reached: [Int64: Int64] = [1: first, 2: first]
            var promised = Int64(0)
            var last = first
            /// Reads until watch 1, which sees every put, has the last.
            func read(until last: Int64) async throws {
                while reached[1, default: 0] < last {
                    let response = try await watch.next()
                    if response.watchID == -1 {
                        promised = max(promised, response.header.revision)
                        answered += 1
                        // Every revision after the first holds an event of watch 1.
                        try #require(response.header.revision <= reached[1, default: 0])
                        continue
                    }
                    for event in response.events {
                        let revision = event.kv.modRevision
                        try #require(revision > promised, "an event of a revision said to be delivered")
                        try #require(revision > reached[response.watchID, default: 0])
                        reached[response.watchID] = revision
                    }
                }
            }
            for _ in 0..<60 {
                let isPaused = Int.random(in: 0..<4, using: &random) == 0
                if isPaused { try await watch.setPaused(true) }
                let count = Int.random(in: 1...(isPaused ? 600 : 40), using: &random)
                async let written = putMany(count, value, writer)
                for _ in 0..<Int.random(in: 1...8, using: &random) {
                    try await watch.requestProgress()
                    _ = try await writer.range(prefix: "nothing")
                }
                last = try await written
                try await watch.setPaused(false)
                try await read(until: last)
                try await watch.requestProgress()
            }
            // In sync and asked: it answers, with all there is.
            last = try await writer.put("k1")
            try await read(until: last)
            repeat {
                try await watch.requestProgress()
                let response = try await watch.next()
                if response.watchID == -1 { promised = response.header.revision }
            } while promised < last
            #expect(promised == last)
            #expect(answered > 0)
        }
    }

    @Test func `a stream with a watch of the future gets no progress answer until that watch is reached`() async throws
    {
        try await RunningServer.run { server in
            let writer = await server.client()
            let watch = try await WatchClient(await server.client())
            let now = try await writer.put("k")
            try await watch.create(id: 1, key: "k")
            try await watch.create(id: 2, key: "k", from: now + 5)
            try await watch.requestProgress()
            try await watch.cancelWatch(2)
            try await watch.requestProgress()
            var kinds: [String] = []
            while kinds.last != "progress" {
                let response = try await watch.next()
                kinds.append(response.created ? "created" : response.canceled ? "cancelled" : "progress")
            }
            #expect(kinds == ["created", "created", "cancelled", "progress"])
        }
    }

    @Test func `a big revision comes in fragments to a watch that asked for them, live and replayed, else whole`()
        async throws
    {
        try await RunningServer.run { server in
            let writer = await server.client()
            var history = WatchHistory()
            let watch = try await WatchClient(await server.client())
            try await watch.create(id: 1, prefix: "k") {
                $0.fragment = true
                $0.prevKv = true
            }
            try await watch.create(id: 2, prefix: "k") { $0.prevKv = true }
            for _ in 0..<2 { #expect(try await watch.next().created) }
            for round in UInt8(1)...3 {
                let big = [UInt8](repeating: round, count: 100_000)
                try await history.write((0..<14).map { ("k\($0 + 10)", big) }, with: writer)
                try await history.write([("k1", [round])], with: writer)
            }
            try await watch.create(id: 3, prefix: "k", from: 2) {
                $0.fragment = true
                $0.prevKv = true
            }
            let expected = history.changes(from: 2) { _ in true }
            var records: [Int64: WatchRecord] = [1: .init(), 2: .init(), 3: .init()]
            var fragments: [Int64: Int] = [:]
            while records.values.contains(where: { $0.changes.count < expected.count }) {
                let response = try await watch.next()
                guard !response.created else { continue }
                try #require(!response.canceled)
                if response.fragment { fragments[response.watchID, default: 0] += 1 }
                try records[response.watchID]?.add(response)
                // The limit is the request limit and half a MiB; one event here is up to 200 kB.
                let bytes: [UInt8] = try response.serializedBytes()
                if response.watchID != 2 { #expect(bytes.count <= (2 << 20) + 1_000) }
            }
            for id in Int64(1)...3 { #expect(records[id]?.difference(to: expected) == nil, "watch \(id)") }
            #expect(fragments[1, default: 0] >= 2)
            #expect(fragments[2] == nil)
            #expect(fragments[3, default: 0] >= 2)
        }
    }

    @Test func `a replay shows each previous value, also of keys deleted and made again`() async throws {
        try await RunningServer.run { server in
            var random = SeededGenerator(seed: 11)
            let writer = await server.client()
            var history = WatchHistory()
            try await history.write(600, with: writer, keys: 6, valueBytes: 50, &random)
            let watch = try await WatchClient(await server.client())
            try await watch.create(id: 1, prefix: "k", from: 1) { $0.prevKv = true }
            #expect(try await watch.next().created)
            let expected = history.changes(from: 1) { _ in true }
            var record = WatchRecord()
            while record.changes.count < expected.count { try record.add(try await watch.next()) }
            #expect(record.difference(to: expected) == nil)
        }
    }
}
