import CRaft
import Glibc
import ReplicatedLog
import Synchronization
import Vocabulary

/// An applier that writes down what it is told and answers as the test wants.
final class RecordingApplier: LogApplier, @unchecked Sendable {
    // @unchecked: everything mutable is in `state`, under its lock.
    struct Entry: Equatable {
        var index: UInt64
        var term: UInt64
        var bytes: [UInt8]
    }
    struct FlushFailed: Error {}
    struct Refused: Error, CustomStringConvertible {
        var description: String { "state 7 is not here" }
    }

    struct State {
        var entries: [Entry] = []
        /// How many entries each `endOfTurn` closed.
        var batches: [Int] = []
        var open: [(context: TestContext, index: UInt64)] = []
        var openCount = 0
        var ticks = 0
        var leadership: [Bool] = []
        var seals: [UInt64] = []
        var refusedSeals = 0
        var flushes = 0
        var restored: [[UInt8]] = []
        var failures: [ReplicatedLogError] = []
        var suspensions: [ReplicatedLogError] = []
        var resumptions: [ReplayReport] = []
        var refusal: String?
        /// Flushes wait while it is set.
        var holdsFlush = false
        var flushesBegun = 0
        var sealedOpenBatch = false

        var accepts = true
        /// Turns `accepts` off after so many entries.
        var room: Int?
        /// Gives new room on a tick.
        var roomOnTick: Int?
        var sealRefusals = 0
        var flushFailures = 0
        var refusesRestore = false
        var failure: String?
        /// Fails so, without room from then on, when so many entries were applied.
        var failsAfter: (count: Int, reason: String)?
    }

    private let state: Mutex<State>
    let changed = Signal()

    init(_ configure: (inout State) -> Void = { _ in }) {
        var initial = State()
        configure(&initial)
        state = Mutex(initial)
    }

    func read<T: Sendable>(_ body: (inout sending State) -> sending T) -> T { state.withLock { body(&$0) } }
    func set(_ body: (inout State) -> Void) {
        state.withLock { body(&$0) }
        changed.pulse()
    }

    var entries: [Entry] { state.withLock { $0.entries } }
    var payloads: [[UInt8]] { entries.map(\.bytes) }

    var acceptsProposals: Bool { state.withLock { $0.accepts } }
    var refusal: String? { state.withLock { $0.refusal } }
    var hasFailed: String? { state.withLock { $0.failure } }

    func apply(_ entry: UnsafeRawBufferPointer, index: RaftIndex, term: RaftTerm, context: (any ProposalContext)?) {
        let entry = Entry(index: index.value, term: term.value, bytes: Array(entry))
        state.withLock { state in
            state.entries.append(entry)
            state.openCount += 1
            if let context = context as? TestContext { state.open.append((context, index.value)) }
            if let (count, reason) = state.failsAfter, state.entries.count == count {
                state.failure = reason
                state.accepts = false
            }
            if let room = state.room {
                state.room = room - 1
                if room <= 1 { state.accepts = false }
            }
        }
    }

    func endOfTurn() {
        let answered = state.withLock { state in
            state.batches.append(state.openCount)
            state.openCount = 0
            defer { state.open.removeAll() }
            return state.open
        }
        for (context, index) in answered { context.applied(index) }
        changed.pulse()
    }

    func tick(now: MonotonicInstant) {
        set { state in
            state.ticks += 1
            guard let room = state.roomOnTick, !state.accepts else { return }
            state.room = room
            state.accepts = true
        }
    }

    func leadershipChanged(isLeader: Bool, term: RaftTerm) { set { $0.leadership.append(isLeader) } }

    func snapshotSeal(at index: RaftIndex) -> Bool {
        defer { changed.pulse() }
        return state.withLock { state in
            if state.openCount > 0 { state.sealedOpenBatch = true }
            if state.sealRefusals > 0 {
                state.sealRefusals -= 1
                state.refusedSeals += 1
                return false
            }
            state.seals.append(index.value)
            return true
        }
    }

    func snapshotFlush() throws {
        defer { changed.pulse() }
        set { $0.flushesBegun += 1 }
        changed.wait { !read { $0.holdsFlush } }
        try state.withLock { state in
            if state.flushFailures > 0 {
                state.flushFailures -= 1
                throw FlushFailed()
            }
            state.flushes += 1
        }
    }

    func snapshotReference() -> [UInt8] { Array("state \(read { $0.seals.last ?? 0 })".utf8) }

    func restore(reference: [UInt8]) throws {
        try state.withLock { state in
            if state.refusesRestore { throw Refused() }
            state.restored.append(reference)
        }
    }

    func failed(_ error: ReplicatedLogError) { set { $0.failures.append(error) } }
    func logSuspended(_ error: ReplicatedLogError) { set { $0.suspensions.append(error) } }
    func logResumed(_ replay: ReplayReport) { set { $0.resumptions.append(replay) } }
}

/// Remembers what became of one proposal, and that it was told once.
final class TestContext: ProposalContext {
    enum Outcome: Equatable {
        case applied(UInt64)
        case failed(ProposalError)
    }

    private let outcomes = Mutex<[Outcome]>([])
    private let done: Signal

    init(_ done: Signal = Signal()) { self.done = done }

    func applied(_ index: UInt64) { note(.applied(index)) }
    func proposalFailed(_ error: ProposalError) { note(.failed(error)) }

    private func note(_ outcome: Outcome) {
        outcomes.withLock { $0.append(outcome) }
        done.pulse()
    }

    var all: [Outcome] { outcomes.withLock { $0 } }

    /// Waits for the outcome.
    func outcome() -> Outcome? {
        done.wait { !all.isEmpty }
        return all.first
    }
}

/// Wakes whoever waits for a condition to become true.
final class Signal: @unchecked Sendable {
    // @unchecked: two POSIX objects made for sharing.
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

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

    func pulse() {
        pthread_mutex_lock(mutex)
        pthread_cond_broadcast(condition)
        pthread_mutex_unlock(mutex)
    }

    /// False when the condition did not come true within ten minutes, which no run needs, however starved.
    @discardableResult
    func wait(until isTrue: () -> Bool) -> Bool {
        var deadline = timespec()
        clock_gettime(CLOCK_REALTIME, &deadline)
        deadline.tv_sec += 600
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while !isTrue() {
            if pthread_cond_timedwait(condition, mutex, &deadline) != 0 { return isTrue() }
        }
        return true
    }
}

/// A folder of its own for one test, removed with it.
final class TestFolder {
    let path: String

    init() {
        var template = Array("/tmp/berth-log-XXXXXX".utf8CString)
        path = mkdtemp(&template).map { String(cString: $0) } ?? "/nonexistent"
    }

    deinit {
        for path in [path, gone] {
            for name in Self.names(in: path) { unlink("\(path)/\(name)") }
            rmdir(path)
        }
    }

    private var gone: String { path + ".gone" }

    /// From one moment to the next, whoever looks for a file here finds nothing; files open already stay open.
    func takeAway() { rename(path, gone) }
    func giveBack() { rename(gone, path) }

    var names: [String] { Self.names(in: path) }

    static func names(in path: String) -> [String] {
        guard let folder = opendir(path) else { return [] }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Copies every file as it stands: what a killed process would leave behind.
    func image() -> TestFolder {
        let copy = TestFolder()
        for name in names { copy.write(name, read(name)) }
        return copy
    }

    func read(_ name: String) -> [UInt8] {
        let file = open("\(path)/\(name)", O_RDONLY)
        guard file >= 0 else { return [] }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: Int(lseek(file, 0, SEEK_END)))
        let count = pread(file, &bytes, bytes.count, 0)
        return Array(bytes.prefix(max(count, 0)))
    }

    func write(_ name: String, _ bytes: [UInt8]) {
        let file = open("\(path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        guard file >= 0 else { return }
        defer { close(file) }
        _ = bytes.withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
    }
}

/// Settings with segments so small that many logs fit on a disk at a time.
func smallConfiguration(
    _ path: String, serverID: UInt64, appliedIndex: RaftIndex = .zero
) -> ReplicatedLogConfiguration {
    var configuration = ReplicatedLogConfiguration(directory: path, serverID: serverID, appliedIndex: appliedIndex)
    configuration.segmentBytes = 512 << 10
    configuration.entryBytes = 128 << 10
    configuration.batchBytes = 128 << 10
    return configuration
}

func buffer(_ payload: [UInt8], kind: UInt8 = 1) -> ProposalBuffer {
    ProposalBuffer(kind: kind, payload: payload)
}

/// What the applier sees of `buffer(payload)`.
func stored(_ payload: [UInt8], kind: UInt8 = 1) -> [UInt8] { [kind] + payload }

extension ReplicatedLog {
    /// Proposes and waits; the entry's index.
    func put(_ payload: [UInt8]) -> TestContext.Outcome? {
        let context = TestContext()
        propose(buffer(payload), context: context)
        return context.outcome()
    }
}
