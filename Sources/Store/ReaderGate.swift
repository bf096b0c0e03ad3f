import Vocabulary

/// Counts readers in and out, keeps their snapshots for reuse, and shuts while a map is made larger: LMDB maps the
/// file anew for that, so no thread may be looking at it.
///
/// A reader waits at the gate before it holds anything, never inside; whoever shuts it waits only for readers who
/// are inside. So neither waits for the other in a circle, as long as a reader inside waits for nobody.
final class ReaderGate: Sendable {
    private struct State {
        var idle: [Snapshot] = []
        var readersInside = 0
        var isWriterInside = false
        var shutters = 0
        var isClosed = false
        /// A map was lost: whoever came in would read memory that is not there.
        var isBroken = false
    }

    private let state = Monitor(State())

    /// Lets a reader in, with a snapshot to be begun; `make` makes one when none is idle.
    func enter(_ make: () -> Snapshot) throws(StoreError) -> Snapshot {
        let entered = state.wait { state -> (isOpen: Bool, idle: Snapshot?)? in
            if state.isClosed || state.isBroken { return (false, nil) }
            guard state.shutters == 0 else { return nil }
            state.readersInside += 1
            return (true, state.idle.popLast())
        }
        guard entered.isOpen else { throw .closed }
        return entered.idle ?? make()
    }

    /// Readers inside now.
    var readers: Int { state.withLock { $0.readersInside } }

    /// Lets a reader out. A snapshot that failed is not kept.
    func leave(_ snapshot: Snapshot, isUsable: Bool = true) {
        if !isUsable { snapshot.close() }
        let isAwaited = state.withLock { state in
            state.readersInside -= 1
            if isUsable { state.idle.append(snapshot) }
            return state.shutters > 0 || state.isClosed
        }
        if isAwaited { state.update { _ in } }
    }

    /// Lets the log thread in, which reads sealed and base while a batch is open. False: a map is lost.
    func enterWriter() -> Bool {
        state.wait { state -> Bool? in
            if state.isBroken { return false }
            guard state.shutters == 0 else { return nil }
            state.isWriterInside = true
            return true
        }
    }

    /// Lets the log thread out.
    func leaveWriter() {
        let isAwaited = state.withLock { state in
            state.isWriterInside = false
            return state.shutters > 0
        }
        if isAwaited { state.update { _ in } }
    }

    /// Runs `body` while nobody reads. The log thread, growing its own layer, is `exceptWriter`. When that loses a
    /// map the gate stays shut for good.
    func whileShut(exceptWriter: Bool, _ body: () throws(StoreError) -> Void) throws(StoreError) {
        state.update { $0.shutters += 1 }
        state.wait { state -> Void? in
            state.readersInside == 0 && (exceptWriter || !state.isWriterInside) ? () : nil
        }
        var isBroken = false
        defer {
            state.update { state in
                state.shutters -= 1
                if isBroken { state.isBroken = true }
            }
        }
        do throws(StoreError) {
            try body()
        } catch {
            if case .mapLost = error { isBroken = true }
            throw error
        }
    }

    /// Turns readers away for good, waits for those inside and frees what is kept for them.
    func close() {
        state.update { $0.isClosed = true }
        let idle = state.wait { state -> [Snapshot]? in
            guard state.readersInside == 0 else { return nil }
            defer { state.idle = [] }
            return state.idle
        }
        // Not left to the last reference: a reader on its way out may still have that, when LMDB is closed already.
        for snapshot in idle { snapshot.close() }
    }
}
