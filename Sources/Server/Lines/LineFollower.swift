import EtcdAPI
import GRPCTransport
import NIOCore
import StateMachine
import Store
import Vocabulary

/// Follows the events of lines for one stream: first those of the history it asked for, then each turn's as it comes.
/// Nothing queues up for a client that does not read: it is behind, holds its next revision alone, and reads the
/// history again when there is room.
///
/// Isolation: its event loop.
final class LineFollower {
    /// Revisions of history handed over before other work of the loop goes on.
    private static let revisionsPerTurn = 256
    /// Revisions of history looked at before other work of the loop goes on.
    private static let revisionsScannedPerTurn = 4_096

    private let context: ServerContext
    private let loop: ServerLoop
    private let wants: (LineEvent) -> Bool
    private let hasRoom: () -> Bool
    private let emit: (Revision, [LineEvent]) -> Void
    private let onError: (EtcdError) -> Void
    private var next: Revision
    private var isLive = false
    private var isEnded = false
    private var isReplaying = false

    /// - Parameters:
    ///   - start: the first revision to tell of.
    ///   - wants: which events are told.
    ///   - hasRoom: whether the stream can take another message; `resume` must be called when it can again.
    ///   - emit: takes all wanted events of one revision.
    init(
        from start: Revision, context: ServerContext, wants: @escaping (LineEvent) -> Bool,
        hasRoom: @escaping () -> Bool, emit: @escaping (Revision, [LineEvent]) -> Void,
        onError: @escaping (EtcdError) -> Void
    ) {
        next = start
        self.context = context
        loop = .here
        self.wants = wants
        self.hasRoom = hasRoom
        self.emit = emit
        self.onError = onError
    }

    /// Begins. The loop's interest is set before the store is read, so that no event falls in between.
    func start() {
        loop.lines.add(self)
        resume()
    }

    func end() {
        guard !isEnded else { return }
        isEnded = true
        loop.lines.remove(self)
    }

    /// Goes on with the history if it is behind.
    func resume() {
        guard !isLive, !isEnded, !isReplaying else { return }
        isReplaying = true
        loop.eventLoop.assumeIsolated().execute {
            self.isReplaying = false
            self.replay()
        }
    }

    /// A turn's events of one revision.
    func take(_ events: ArraySlice<LineEvent>, at revision: Revision) {
        guard isLive, !isEnded, revision >= next else { return }
        guard hasRoom() else {
            next = revision
            isLive = false
            return
        }
        next = revision.next
        let wanted = events.filter(wants)
        if !wanted.isEmpty { emit(revision, wanted) }
    }

    private func replay() {
        guard !isEnded, hasRoom() else { return }
        var found: [(Revision, [LineEvent])] = []
        var reachedEnd = true
        let start = next
        do {
            next = try context.store.readingEtcdErrors { snapshot in
                // What was asked for may lie ahead.
                guard start <= snapshot.revision else { return start }
                var end = snapshot.revision.next
                var scanned = 0
                try LineHistory.forEachRevision(from: start, in: snapshot) { revision, events in
                    guard found.count < Self.revisionsPerTurn, scanned < Self.revisionsScannedPerTurn else {
                        end = revision
                        reachedEnd = false
                        return .stop
                    }
                    scanned += 1
                    let wanted = events.filter(wants)
                    if !wanted.isEmpty { found.append((revision, wanted)) }
                    return .next
                }
                return end
            }
        } catch {
            end()
            return onError(error)
        }
        if reachedEnd { isLive = true }
        for (revision, events) in found where !isEnded { emit(revision, events) }
        if !reachedEnd { resume() }
    }
}
