import ReplicatedLog
import StateMachine
import Store
import Synchronization
import Vocabulary

/// How many keys there are: counted once after the start, at the revision the store then had, and kept from there on by
/// what entries create and delete.
///
/// The count goes a slice at a time on the range pool's threads, so that neither a read transaction nor a thread is held
/// for long. A compaction that overtakes it makes it begin anew. Until it is done there is no number.
final class KeyCensus: Sendable {
    /// Keys of one slice: a few milliseconds.
    private static let sliceKeys = 8_192

    /// Keys counted at a revision, less what entries had created and deleted by then.
    private let base = Mutex<Int?>(nil)

    /// One walk over the keys as they were at a revision.
    private struct Walk: Sendable {
        let revision: Revision
        /// Keys created less keys deleted by then, as the state machine counts.
        let offset: Int
        var next: [UInt8] = [0]
        var found = 0
    }

    /// Keys there are now; nil while they are being counted.
    func keys(_ context: ServerContext) -> Int? { base.withLock { $0 }.map { $0 + context.counts[.keys] } }

    /// Begins, after a replay and before the log takes proposals.
    func start(_ context: ServerContext) {
        context.counts.restartKeys()
        goOn(Walk(revision: context.store.publishedRevision, offset: 0), context)
    }

    private func goOn(_ walk: Walk, _ context: ServerContext) {
        context.rangePool.run { self.count(walk, context) }
    }

    private func count(_ walk: Walk, _ context: ServerContext) {
        var walk = walk
        var isDone = true
        do {
            try context.store.withSnapshot { snapshot in
                var left = Self.sliceKeys
                try snapshot.forEachKey(in: KeyRange(key: walk.next, end: [0]), at: walk.revision) { key, _ in
                    guard left > 0 else {
                        walk.next = [UInt8](key)
                        isDone = false
                        return .stop
                    }
                    left -= 1
                    walk.found += 1
                    return .next
                }
            }
        } catch StoreError.compacted {
            return startAnew(context)
        } catch {
            // A store that cannot be read says so elsewhere; there is no number then.
            return
        }
        guard isDone else { return goOn(walk, context) }
        base.withLock { $0 = walk.found - walk.offset }
    }

    /// Between two entries the newest revision and the count of what entries did belong together.
    private func startAnew(_ context: ServerContext) {
        context.log.execute {
            let walk = Walk(revision: context.store.publishedRevision, offset: context.counts[.keys])
            self.goOn(walk, context)
        }
    }
}
