import DequeModule
import NIOCore
import StateMachine
import Store
import Vocabulary

/// One event loop's watches: delivers each batch of events to those that want them, and brings the ones that are
/// behind up to date from the store.
///
/// A live watch gets events as the log thread hands them over. A watch that starts in the past, or whose stream has no
/// room, is *behind*: it holds no events, only the next revision it needs, and reads the history in chunks when it can
/// take them. Nothing queues up for a slow consumer.
///
/// Isolation: its event loop.
final class WatchHub {
    /// A turn of replay looks at no more changes than this before other work of the loop goes on.
    private static let replayBudget = 4_000

    let eventLoop: any EventLoop
    private let number: Int
    private let store: Store
    private let interest: LoopInterest

    /// What is counted here, for metrics.
    let tallies = WatchTallies()
    private var index = WatchIndex() {
        didSet { show() }
    }
    /// Watches to replay, each at most once.
    private var behind = Deque<Watcher>()
    private var isReplayScheduled = false
    private var watcherCount = 0 {
        didSet { show() }
    }
    /// Open streams, for progress ticks.
    private var streams: [ObjectIdentifier: WatchStream] = [:] {
        didSet { tallies.set(.streams, streams.count) }
    }

    /// Every event up to here has been given to the live watches. Means something while there are watches.
    private(set) var delivered = Revision.zero

    init(eventLoop: any EventLoop, number: Int, store: Store, interest: LoopInterest) {
        self.eventLoop = eventLoop
        self.number = number
        self.store = store
        self.interest = interest
    }

    /// The newest revision a read started now would see.
    var publishedRevision: Revision { store.publishedRevision }

    // MARK: - Watches come and go

    /// Starts a watch at its `next` revision.
    func add(_ watcher: Watcher) {
        eventLoop.preconditionInEventLoop()
        if watcherCount == 0 {
            interest.set(number)
            delivered = store.publishedRevision
        }
        watcherCount += 1
        if watcher.next > max(delivered, store.publishedRevision) {
            index.insert(watcher)
        } else {
            fallBehind(watcher)
        }
    }

    /// Ends a watch; it gets nothing more. Harmless when repeated.
    func remove(_ watcher: Watcher) {
        eventLoop.preconditionInEventLoop()
        guard !watcher.isEnded else { return }
        watcher.isEnded = true
        if watcher.isLive { index.remove(watcher) }
        watcherCount -= 1
        if watcherCount == 0 { interest.clear(number) }
    }

    private func show() {
        tallies.set(.watches, watcherCount)
        tallies.set(.behind, watcherCount - index.count)
    }

    /// Queues a watch for replay, unless it has ended, is live or is queued already.
    func fallBehind(_ watcher: Watcher) {
        guard !watcher.isEnded, !watcher.isLive, !watcher.isQueued else { return }
        watcher.isQueued = true
        behind.append(watcher)
        scheduleReplay()
    }

    /// Revision up to which this watch has received everything.
    func progress(of watcher: Watcher) -> Revision {
        watcher.isLive ? max(delivered, watcher.next.previous) : watcher.next.previous
    }

    // MARK: - Streams

    /// Registers an open stream.
    func open(_ stream: WatchStream) { streams[ObjectIdentifier(stream)] = stream }

    /// Forgets a stream that ended.
    func close(_ stream: WatchStream) { streams[ObjectIdentifier(stream)] = nil }

    /// Sends the periodic progress responses.
    func progressTick() {
        for stream in streams.values { stream.progressTick() }
    }

    // MARK: - Live events

    /// Gives a batch to the live watches.
    func deliver(_ batch: CommittedBatch) {
        eventLoop.preconditionInEventLoop()
        guard watcherCount > 0, batch.lastRevision > delivered else { return }
        guard let events = batch.events else {
            // Recorded before anybody here watched: what it held is in the store.
            let stale = index.groups.flatMap(\.watchers)
            for watcher in stale where watcher.next <= batch.lastRevision {
                watcher.next = max(watcher.next, delivered.next)
                index.remove(watcher)
                fallBehind(watcher)
            }
            delivered = batch.lastRevision
            return
        }
        var touched: [WatchGroup] = []
        var current = Revision.zero
        var position = 0
        events.forEach { event in
            if event.revision != current {
                deliver(events, current, to: &touched)
                current = event.revision
            }
            index.forEachGroup(holding: event.key) { group in
                if group.pendingEvents.isEmpty { touched.append(group) }
                group.pendingEvents.append(position)
            }
            position += 1
        }
        deliver(events, current, to: &touched)
        delivered = batch.lastRevision
    }

    /// Gives each group its pending events, all of one revision.
    private func deliver(_ events: EventBatch, _ revision: Revision, to touched: inout [WatchGroup]) {
        guard !touched.isEmpty else { return }
        for group in touched {
            deliver(events, revision, to: group)
            group.pendingEvents.removeAll(keepingCapacity: true)
        }
        touched.removeAll(keepingCapacity: true)
        delivered = revision
    }

    /// Gives the group's pending events, all of one revision, to its watches; encoded once for each shape, as is the
    /// header. A watch whose stream has no room, or whose events cannot be read, falls behind.
    private func deliver(_ events: EventBatch, _ revision: Revision, to group: WatchGroup) {
        var encoded: [EncodedEvents?] = Array(repeating: nil, count: WatchShape.all)
        // Those of the last watch, which the next one mostly shares.
        var (body, bodySlot) = (EncodedEvents(), -1)
        var header: [UInt8] = []
        var stalled: [Watcher] = []
        // A copy: an observer may end its watch, or start another, when it is called.
        for watcher in group.watchers where watcher.next <= revision && !watcher.isEnded {
            switch watcher.consumer {
            case .observer(let observer):
                events.forEach(at: group.pendingEvents) { event in
                    guard !watcher.isEnded, watcher.shape.wants(isDeletion: event.isDeletion) else { return }
                    observer.onEvent(
                        ObservedEvent(
                            revision: revision, isDeletion: event.isDeletion, keyValue: [UInt8](event.keyValue)))
                }
            case .stream(let stream):
                guard stream.hasRoom else {
                    tallies.add(.stalls)
                    stalled.append(watcher)
                    continue
                }
                let slot = Int(watcher.shape.rawValue)
                if slot != bodySlot {
                    guard let made = encoded[slot] ?? encode(events, group.pendingEvents, watcher.shape, revision)
                    else {
                        stalled.append(watcher)
                        continue
                    }
                    encoded[slot] = made
                    (body, bodySlot) = (made, slot)
                }
                guard !body.isEmpty else { continue }
                watcher.sentSinceTick = true
                if header.isEmpty { header = stream.header(at: revision) }
                stream.send(body, of: watcher, header: header)
            }
        }
        for watcher in stalled where watcher.isLive {
            watcher.next = revision
            index.remove(watcher)
            fallBehind(watcher)
        }
    }

    private func encode(
        _ events: EventBatch, _ positions: [Int], _ shape: WatchShape, _ revision: Revision
    ) -> EncodedEvents? {
        do {
            var body = EncodedEvents()
            try events.forEach(at: positions) { event in
                guard shape.wants(isDeletion: event.isDeletion) else { return }
                let wantsPrevious = shape.contains(.previousKeyValue) && !event.isCreation
                let previous =
                    wantsPrevious
                    ? try store.withSnapshot { try $0.keyValueBefore(revision, of: event.key) } : nil
                body.append(event.keyValue, isDeletion: event.isDeletion, previous: previous)
            }
            return body
        } catch {
            // The watch falls behind, and its replay says what is wrong.
            return nil
        }
    }

    // MARK: - Replay

    private func scheduleReplay() {
        guard !isReplayScheduled, !behind.isEmpty else { return }
        isReplayScheduled = true
        eventLoop.assumeIsolated().execute {
            self.isReplayScheduled = false
            self.replayTurn()
        }
    }

    /// Replays watches in turn until the budget is spent; the rest waits for the loop's next turn.
    private func replayTurn() {
        var budget = Self.replayBudget
        while budget > 0, let watcher = behind.popFirst() {
            watcher.isQueued = false
            guard !watcher.isEnded else { continue }
            guard watcher.hasRoom else {
                if case .stream(let stream) = watcher.consumer { stream.park(watcher) }
                continue
            }
            budget -= 1
            replayChunk(watcher, &budget)
        }
        scheduleReplay()
    }

    private func replayChunk(_ watcher: Watcher, _ budget: inout Int) {
        let chunk: ReplayChunk
        do {
            chunk = try store.withSnapshot { snapshot in
                try ReplayChunk(of: watcher, from: snapshot, scanning: max(budget, 1))
            }
        } catch StoreError.compacted {
            return end(watcher, compactedAt: store.compactedRevision)
        } catch {
            return end(watcher, reason: "etcdserver: the history could not be read: \(error)")
        }
        budget -= chunk.scanned
        watcher.next = chunk.next
        switch watcher.consumer {
        case .stream(let stream):
            if !chunk.events.isEmpty {
                watcher.sentSinceTick = true
                stream.send(chunk.events, of: watcher, header: stream.header(at: chunk.headerRevision))
            }
        case .observer(let observer):
            for event in chunk.observed where !watcher.isEnded { observer.onEvent(event) }
        }
        guard !watcher.isEnded else { return }
        // Up to date with the store: batches still on their way here hold only revisions below `next`.
        if chunk.reachedEnd { index.insert(watcher) } else { fallBehind(watcher) }
    }

    private func end(_ watcher: Watcher, compactedAt revision: Revision) {
        remove(watcher)
        switch watcher.consumer {
        case .stream(let stream): stream.watchCompacted(watcher, at: revision)
        case .observer(let observer): observer.onLost()
        }
    }

    private func end(_ watcher: Watcher, reason: String) {
        remove(watcher)
        switch watcher.consumer {
        case .stream(let stream): stream.watchFailed(watcher, reason: reason)
        case .observer(let observer): observer.onLost()
        }
    }
}

extension EventBatch {
    /// Visits the changes at these positions, in order.
    fileprivate func forEach<Failure: Error>(
        at positions: [Int], _ visit: (Event) throws(Failure) -> Void
    ) throws(Failure) {
        for position in positions {
            var outcome = Result<Void, Failure>.success(())
            forEach(in: position..<position + 1) { event in
                do throws(Failure) {
                    try visit(event)
                } catch {
                    outcome = .failure(error)
                }
            }
            try outcome.get()
        }
    }
}
