/// What happens to a range of keys, in order, each event once, over broken connections and restarted servers.
///
/// Each iterator has a stream of its own. An iterator that is not read holds the server back instead of collecting;
/// dropping it ends the stream. Reading throws `.compacted` when history went before it was read: read the range, and
/// watch again from that answer's revision + 1. It throws `.unreachable` only when no server ever answered: after that
/// it waits for servers as long as the reading task lives.
public struct Watch: AsyncSequence, Sendable {
    /// Events of one or more revisions.
    public typealias Element = WatchBatch
    /// What ends a watch.
    public typealias Failure = BerthError

    let caller: Caller
    let dialect: WatchDialect

    /// Reads one batch after the other.
    public struct AsyncIterator: AsyncIteratorProtocol {
        var reader: ResumingReader<WatchDialect>

        /// The next batch; nil only after an error.
        public mutating func next() async throws(BerthError) -> WatchBatch? { try await reader.next() }

        /// The next batch; nil only after an error.
        public mutating func next(isolation: isolated (any Actor)?) async throws(BerthError) -> WatchBatch? {
            try await reader.next()
        }
    }

    /// Starts a watch of its own.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(reader: ResumingReader(caller, dialect)) }
}

/// What a watch tells, and what not.
public struct WatchOptions: Sendable, Hashable {
    /// Each event carries what the key was before.
    public var previous = false
    /// Leaves puts out.
    public var ignoresPuts = false
    /// Leaves deletes out.
    public var ignoresDeletes = false
    /// Delivers batches without events too: one when the watch stands, and one now and then that says how far it is.
    public var progress = false

    /// Every event, without previous values.
    public init(previous: Bool = false, progress: Bool = false) {
        self.previous = previous
        self.progress = progress
    }
}

/// Events that came together.
public struct WatchBatch: Sendable, Hashable {
    /// Everything up to this revision has been delivered, but for what `isComplete` says: go on from the one after.
    public var revision: Int64
    /// In order; empty only for progress.
    public var events: [WatchEvent]
    /// False: more events of `revision` follow in the next batch, as one revision changed very many keys.
    public var isComplete: Bool
}

/// One change of one key.
public struct WatchEvent: Sendable, Hashable {
    /// What happened.
    public enum Kind: Sendable, Hashable {
        /// The key has a new value.
        case put
        /// The key is gone: deleted, or ended with its lease.
        case delete
    }

    /// What happened.
    public var kind: Kind
    /// The key as it is now; of a deleted key only `key` and `modRevision`, the delete's revision, are set.
    public var current: KeyValue
    /// What it was before, when asked for and not compacted.
    public var previous: KeyValue?

    /// The key.
    public var key: Bytes { current.key }
    /// The new value; empty for a delete.
    public var value: Bytes { current.value }
    /// The revision of the change.
    public var revision: Int64 { current.modRevision }
    /// The key did not exist before.
    public var isCreation: Bool { kind == .put && current.version == 1 }
}
