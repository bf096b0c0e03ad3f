import Glibc
import ReplicatedLog
import Synchronization
import TestSupport
import Testing
import Vocabulary

/// One voter on a real folder: order, contexts, restarts, bounds and stopping.
struct SingleVoterTests {
    let folder = TestFolder()
    var configuration: ReplicatedLogConfiguration { smallConfiguration(folder.path, serverID: 7) }

    @Test func `each proposal is applied once, with its own context, in its thread's order`() throws {
        let applier = RecordingApplier()
        let log = ReplicatedLog(configuration, applier: applier)
        try log.start()
        let threads: [UInt8] = [1, 2, 3, 4]
        let contexts = Mutex<[[UInt8]: TestContext]>([:])
        let finished = threads.map { thread in
            runThread {
                for number in UInt8(0)..<200 {
                    let context = TestContext()
                    contexts.withLock { $0[[thread, number]] = context }
                    log.propose(buffer([thread, number]), context: context)
                }
            }
        }
        for thread in finished { pthread_join(thread, nil) }
        for (payload, context) in contexts.withLock({ $0 }) {
            guard case .applied(let index) = context.outcome() else {
                Issue.record("\(payload): \(context.all)")
                continue
            }
            #expect(context.all.count == 1)
            #expect(applier.entries.first { $0.index == index }?.bytes == stored(payload))
        }
        for thread in threads {
            let order = applier.payloads.filter { $0[1] == thread }.map { $0[2] }
            #expect(order == Array(0..<200))
        }
        #expect(applier.entries.map(\.index) == Array(2...801))
        #expect(applier.read { $0.batches.reduce(0, +) } == 800)
        #expect(log.status.appliedIndex == RaftIndex(801))
        #expect(log.status.isLeader)
        log.stop()
    }

    @Test(arguments: Seeds.all)
    func `a restart replays the same entries, of any length, without contexts`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var sent: [[UInt8]] = []
        for _ in 0..<3 {
            let applier = RecordingApplier()
            let log = ReplicatedLog(configuration, applier: applier)
            try log.start()
            #expect(applier.payloads == sent)
            for _ in 0..<50 {
                let scale = Int.random(in: 0...9, using: &random) == 0 ? 1_000 : 1
                let length = scale * Int.random(in: 0...40, using: &random)
                let payload = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
                #expect(log.put(payload) == .applied(UInt64(sent.count) + 2))
                sent.append(stored(payload))
            }
            log.stop()
            #expect(applier.payloads == sent)
        }
    }

    @Test func `entries built from parts are their concatenation`() throws {
        let applier = RecordingApplier()
        let log = ReplicatedLog(configuration, applier: applier)
        try log.start()
        let context = TestContext()
        let (head, tail): ([UInt8], [UInt8]) = ([1, 2, 3], [4, 5])
        head.withUnsafeBytes { head in
            tail.withUnsafeBytes { log.propose(ProposalBuffer(kind: 9, parts: [head, $0]), context: context) }
        }
        #expect(context.outcome() == .applied(2))
        #expect(applier.payloads == [[9, 1, 2, 3, 4, 5]])
        log.stop()
    }

    @Test func `a full queue refuses by count, and goes on when the applier has room`() throws {
        var configuration = configuration
        configuration.queueEntries = 4
        let applier = RecordingApplier { $0.accepts = false }
        let log = ReplicatedLog(configuration, applier: applier)
        try log.start()
        let contexts = (0..<6).map { _ in TestContext() }
        for (number, context) in contexts.enumerated() { log.propose(buffer([UInt8(number)]), context: context) }
        #expect(contexts[4].all == [.failed(.queueFull)])
        #expect(contexts[5].all == [.failed(.queueFull)])
        #expect(applier.entries.isEmpty)
        applier.set { $0.accepts = true }
        log.wake()
        #expect(contexts.prefix(4).map { $0.outcome() } == (2...5).map { .applied($0) })
        #expect(log.put([9]) == .applied(6))
        log.stop()
    }

    @Test func `a full queue refuses by bytes, but never a lone entry`() throws {
        var configuration = configuration
        configuration.queueBytes = 100
        let applier = RecordingApplier { $0.accepts = false }
        let log = ReplicatedLog(configuration, applier: applier)
        try log.start()
        let (first, second) = (TestContext(), TestContext())
        log.propose(buffer([UInt8](repeating: 1, count: 500)), context: first)
        log.propose(buffer([2]), context: second)
        #expect(second.all == [.failed(.queueFull)])
        applier.set { $0.accepts = true }
        log.wake()
        #expect(first.outcome() == .applied(2))
        log.stop()
    }

    @Test func `an entry over the bound is refused`() throws {
        var configuration = configuration
        configuration.entryBytes = 1000
        let log = ReplicatedLog(configuration, applier: RecordingApplier())
        try log.start()
        #expect(log.put([UInt8](repeating: 1, count: 1000)) == .failed(.tooLarge))
        #expect(log.put([UInt8](repeating: 1, count: 999)) == .applied(2))
        log.stop()
    }

    @Test func `stopping fails what waits, lets a second stop pass and refuses what comes later`() throws {
        let applier = RecordingApplier { $0.accepts = false }
        let log = ReplicatedLog(configuration, applier: applier)
        try log.start()
        let contexts = (0..<3).map { _ in TestContext() }
        for context in contexts { log.propose(buffer([1]), context: context) }
        log.stop()
        log.stop()
        #expect(contexts.allSatisfy { $0.all == [.failed(.stopped)] })
        #expect(log.put([1]) == .failed(.stopped))
        #expect(log.execute {} == false)
        #expect(throws: ReplicatedLogError.stopped) { try log.start() }
        #expect(applier.entries.isEmpty)
    }

    @Test func `stopping in the middle of traffic answers every proposal exactly once`() throws {
        for _ in 0..<5 {
            let applier = RecordingApplier()
            let log = ReplicatedLog(configuration, applier: applier)
            try log.start()
            let before = applier.entries.count
            let contexts = Mutex<[TestContext]>([])
            let isOver = Atomic<Bool>(false)
            let proposer = runThread {
                while !isOver.load(ordering: .relaxed) {
                    let context = TestContext()
                    contexts.withLock { $0.append(context) }
                    log.propose(buffer([1, 2, 3]), context: context)
                    if contexts.withLock({ $0.count }) > 50_000 { break }
                }
            }
            applier.changed.wait { applier.entries.count > before + 100 }
            log.stop()
            isOver.store(true, ordering: .relaxed)
            pthread_join(proposer, nil)
            let outcomes = contexts.withLock { $0 }.map(\.all)
            #expect(outcomes.allSatisfy { $0.count == 1 })
            let applied = outcomes.filter { if case .applied = $0.first { true } else { false } }
            #expect(applied.count == applier.entries.count - before)
        }
    }

    @Test func `proposals made before the start are applied after it`() throws {
        let log = ReplicatedLog(configuration, applier: RecordingApplier())
        let context = TestContext()
        log.propose(buffer([1]), context: context)
        try log.start()
        #expect(context.outcome() == .applied(2))
        log.stop()
    }

    @Test func `work runs on the log thread, in order`() throws {
        let log = ReplicatedLog(configuration, applier: RecordingApplier())
        try log.start()
        let done = Signal()
        let seen = Mutex<[Int]>([])
        let threads = Mutex<Set<pthread_t>>([])
        for number in 0..<10 {
            log.execute {
                seen.withLock { $0.append(number) }
                _ = threads.withLock { $0.insert(pthread_self()) }
                done.pulse()
            }
        }
        done.wait { seen.withLock { $0.count } == 10 }
        #expect(seen.withLock { $0 } == Array(0..<10))
        #expect(threads.withLock { $0.count } == 1)
        #expect(threads.withLock { $0.contains(pthread_self()) } == false)
        log.stop()
    }

    @Test func `ticks come without any traffic`() throws {
        let applier = RecordingApplier()
        let log = ReplicatedLog(configuration, applier: applier)
        try log.start()
        #expect(applier.changed.wait { applier.read { $0.ticks } >= 2 })
        log.stop()
    }

    @Test func `a log that is never started stops too`() {
        let log = ReplicatedLog(configuration, applier: RecordingApplier())
        let context = TestContext()
        log.propose(buffer([1]), context: context)
        log.stop()
        #expect(context.all == [.failed(.stopped)])
    }

    @Test func `a long replay closes batches on its way and waits for the applier's room`() throws {
        let first = ReplicatedLog(configuration, applier: RecordingApplier())
        try first.start()
        let last = TestContext()
        for _ in 0..<4_999 { first.propose(buffer([1]), context: TestContext()) }
        first.propose(buffer([1]), context: last)
        #expect(last.outcome() == .applied(5_001))
        first.stop()

        let applier = RecordingApplier { state in
            state.room = 1_000
            state.roomOnTick = 1_500
        }
        let second = ReplicatedLog(configuration, applier: applier)
        try second.start()
        #expect(applier.entries.count == 5_000)
        #expect(applier.read { $0.batches.count } >= 4)
        #expect(applier.read { $0.batches.allSatisfy { $0 <= 1_024 } })
        second.stop()
    }

    @Test func `a replay that waits for room can be stopped`() throws {
        let first = ReplicatedLog(configuration, applier: RecordingApplier())
        try first.start()
        #expect(first.put([1]) == .applied(2))
        first.stop()

        let applier = RecordingApplier { $0.accepts = false }
        let second = ReplicatedLog(configuration, applier: applier)
        let error = Mutex<ReplicatedLogError?>(nil)
        let starter = runThread {
            do throws(ReplicatedLogError) { try second.start() } catch let thrown { error.withLock { $0 = thrown } }
        }
        applier.changed.wait { applier.read { $0.ticks } > 0 }
        second.stop()
        pthread_join(starter, nil)
        #expect(error.withLock { $0 } == .stopped)
        #expect(applier.entries.isEmpty)
    }

    @Test(arguments: [1, 1_500, 3_000])
    func `a replay into an applier that fails ends with its reason`(count: Int) throws {
        let first = ReplicatedLog(configuration, applier: RecordingApplier())
        try first.start()
        let last = TestContext()
        for _ in 0..<2_999 { first.propose(buffer([1]), context: TestContext()) }
        first.propose(buffer([1]), context: last)
        #expect(last.outcome() == .applied(3_001))
        first.stop()

        let applier = RecordingApplier { $0.failsAfter = (count, "entry is damaged") }
        let second = ReplicatedLog(configuration, applier: applier)
        #expect(throws: ReplicatedLogError.applier("entry is damaged")) { try second.start() }
        #expect(applier.entries.count < count + 1_024)
        second.stop()
        let third = ReplicatedLog(configuration, applier: RecordingApplier())
        try third.start()
        #expect(third.put([2]) == .applied(3_002))
        third.stop()
    }

    @Test func `an applier that fails while the log runs fails the log once`() throws {
        let applier = RecordingApplier { $0.failsAfter = (2, "disk is gone") }
        let log = ReplicatedLog(configuration, applier: applier)
        try log.start()
        #expect(log.put([1]) == .applied(2))
        _ = log.put([2])
        #expect(applier.changed.wait { applier.read { $0.failures } == [.applier("disk is gone")] })
        guard case .failed(.io(let text)) = log.put([3]) else {
            Issue.record("took a proposal after the applier failed")
            return
        }
        #expect(text.contains("disk is gone"))
        log.stop()
        #expect(applier.read { $0.failures.count } == 1)
    }
}

/// A plain thread; join it.
func runThread(_ body: @escaping @Sendable () -> Void) -> pthread_t {
    final class Box {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    var thread = pthread_t()
    pthread_create(
        &thread, nil,
        { argument in
            if let argument { Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body() }
            return nil
        }, Unmanaged.passRetained(Box(body)).toOpaque())
    return thread
}
