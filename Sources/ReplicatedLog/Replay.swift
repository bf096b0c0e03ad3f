internal import CRaft
internal import Glibc
internal import Vocabulary

/// The pace of a replay. libraft applies all old entries of a lone voter inside one call, where the loop does not turn:
/// so the batch is closed every slice, and the applier's back-pressure is obeyed by waiting here.
///
/// Isolation: the log thread.
final class Replay {
    /// Entries and bytes between two closed batches.
    static let sliceEntries = 1_024
    static let sliceBytes = 4 << 20

    /// All that was applied so far.
    private(set) var total: (entries: Int, bytes: Int, firstIndex: UInt64) = (0, 0, 0)
    private var entries = 0
    private var bytes = 0
    private let gate: Gate
    private let isCancelled: () -> Bool

    /// - Parameters:
    ///   - gate: opened when the applier may have room again.
    ///   - isCancelled: asked between slices and while waiting.
    init(gate: Gate, isCancelled: @escaping () -> Bool) {
        self.gate = gate
        self.isCancelled = isCancelled
    }

    /// Before each entry; false ends the replay with an error.
    func mayGoOn(_ machine: RaftMachine) -> Bool {
        guard entries == 0 else { return true }
        while !machine.applier.acceptsProposals {
            // An applier that has failed never has room again.
            if isCancelled() || machine.noticeApplierFailure() { return false }
            gate.wait(milliseconds: 100)
            machine.tick(now: .now)
        }
        return !isCancelled() && !machine.noticeApplierFailure()
    }

    /// After each entry.
    func applied(_ index: UInt64, bytes count: Int, _ machine: RaftMachine) {
        if total.entries == 0 { total.firstIndex = index }
        total.entries += 1
        total.bytes += count
        entries += 1
        bytes += count
        guard entries >= Self.sliceEntries || bytes >= Self.sliceBytes else { return }
        entries = 0
        bytes = 0
        machine.closeBatch()
        machine.tick(now: .now)
    }
}

/// A thread waits here, at most a while, until another opens it. One opening lets one wait pass, even a later one.
final class Gate: @unchecked Sendable {
    // @unchecked: `isOpen` is touched under `mutex` alone, and the two POSIX objects are made for sharing.
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var isOpen = false

    init() {
        mutex.initialize(to: pthread_mutex_t())
        condition.initialize(to: pthread_cond_t())
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(condition, nil)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    func open() {
        pthread_mutex_lock(mutex)
        isOpen = true
        pthread_cond_signal(condition)
        pthread_mutex_unlock(mutex)
    }

    /// Waits until opened, without bound.
    func wait() {
        pthread_mutex_lock(mutex)
        while !isOpen { pthread_cond_wait(condition, mutex) }
        isOpen = false
        pthread_mutex_unlock(mutex)
    }

    /// Waits until opened, or until the time is over.
    func wait(milliseconds: Int) {
        var deadline = timespec()
        clock_gettime(CLOCK_REALTIME, &deadline)
        let nanoseconds = deadline.tv_nsec + milliseconds * 1_000_000
        deadline.tv_sec += nanoseconds / 1_000_000_000
        deadline.tv_nsec = nanoseconds % 1_000_000_000
        pthread_mutex_lock(mutex)
        while !isOpen {
            if pthread_cond_timedwait(condition, mutex, &deadline) != 0 { break }
        }
        isOpen = false
        pthread_mutex_unlock(mutex)
    }
}

extension MonotonicInstant {
    /// The monotonic clock now.
    static var now: MonotonicInstant { MonotonicInstant(sinceStart: .nanoseconds(Int64(uv_hrtime()))) }
}
