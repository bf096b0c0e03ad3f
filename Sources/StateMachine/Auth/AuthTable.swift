import Synchronization

/// The users, roles and the switch as of the newest committed batch.
///
/// Written on the log thread, read from anywhere: a mutex guards the value, and two atomics beside it answer without
/// the lock. A change is announced before the batch's data can be read and published after it. So who judged by a state
/// and read data can tell afterwards, by `isCurrent`, that no change of rights came between: without that, a right that
/// was just taken away would still read what was written after.
public final class AuthTable: Sendable {
    private let published = Mutex((state: AuthState(), epoch: UInt64(0)))
    private let enabled = Atomic<Bool>(false)
    private let epoch = Atomic<UInt64>(0)

    /// A state and the moment it was published at.
    public struct Reading: Sendable {
        /// The state.
        public let state: AuthState
        fileprivate let epoch: UInt64
    }

    init() {}

    /// Whether callers are asked who they are: one relaxed load, for calls on the hot path.
    @inline(__always)
    public var isEnabled: Bool { enabled.load(ordering: .relaxed) }

    /// The state, and what `isCurrent` asks for.
    public var reading: Reading { published.withLock { Reading(state: $0.state, epoch: $0.epoch) } }

    /// The state.
    public var state: AuthState { published.withLock { $0.state } }

    /// Whether nothing has changed since a reading.
    public func isCurrent(_ reading: Reading) -> Bool { epoch.load(ordering: .acquiring) == reading.epoch }

    /// Tells that a change is about to become readable. Followed by `publish`.
    func announce(_ state: AuthState) {
        epoch.add(1, ordering: .sequentiallyConsistent)
        if state.isEnabled { enabled.store(true, ordering: .sequentiallyConsistent) }
    }

    func publish(_ state: AuthState) {
        published.withLock { $0 = (state, epoch.load(ordering: .relaxed)) }
        enabled.store(state.isEnabled, ordering: .sequentiallyConsistent)
    }
}
