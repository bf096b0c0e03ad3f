import Glibc
import ReplicatedLog
import Synchronization
import TestSupport
import Testing
import Vocabulary

/// A disk that comes and goes under traffic from many threads.
struct FlickeringDiskTests {
    @Test(arguments: Seeds.all)
    func `each proposal has one outcome, what was answered stays, and each thread's order holds`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let folder = TestFolder()
        var configuration = LogImage.configuration(folder.path)
        configuration.snapshotEntries = 300
        let applier = RecordingApplier()
        let log = ReplicatedLog(configuration, applier: applier)
        try log.start()
        let isOver = Atomic<Bool>(false)
        let outcomes = Mutex<[(payload: [UInt8], context: TestContext)]>([])
        let threads = (UInt8(0)..<3).map { thread in
            runThread {
                var number: UInt32 = 0
                while !isOver.load(ordering: .relaxed) {
                    let payload = [thread] + withUnsafeBytes(of: number.bigEndian) { Array($0) }
                    let context = TestContext()
                    outcomes.withLock { $0.append((payload, context)) }
                    log.propose(buffer(payload + [UInt8](repeating: 1, count: 900)), context: context)
                    // A few on their way at a time, so that a turn of the disk meets some in every state.
                    if number % 4 == 3 { _ = context.outcome() }
                    number += 1
                }
            }
        }
        for round in 1...4 {
            let seen = applier.entries.count
            #expect(applier.changed.wait { applier.entries.count > seen + Int.random(in: 0...200, using: &random) })
            folder.takeAway()
            #expect(applier.changed.wait { applier.read { $0.suspensions.count } == round })
            folder.giveBack()
            #expect(applier.changed.wait { applier.read { $0.resumptions.count } == round })
        }
        isOver.store(true, ordering: .relaxed)
        for thread in threads { pthread_join(thread, nil) }
        log.stop()
        #expect(applier.read { $0.failures } == [])
        #expect(zip(applier.entries, applier.entries.dropFirst()).allSatisfy { $0.index + 1 == $1.index })
        let applied = applier.entries
        for (payload, context) in outcomes.withLock({ $0 }) {
            #expect(context.all.count == 1)
            guard case .applied(let index) = context.all.first else { continue }
            #expect(applied[Int(index) - 2].bytes.dropFirst().prefix(5) == payload[...])
        }
        for thread in UInt8(0)..<3 {
            let order = applied.filter { $0.bytes[1] == thread }.map { Array($0.bytes[2..<6]) }
            #expect(zip(order, order.dropFirst()).allSatisfy { $0.lexicographicallyPrecedes($1) })
        }
        let again = RecordingApplier()
        let second = ReplicatedLog(configuration, applier: again)
        try second.start()
        #expect(again.entries == Array(applied.suffix(again.entries.count)))
        second.stop()
    }
}
