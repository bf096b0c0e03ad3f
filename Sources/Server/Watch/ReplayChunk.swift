import EtcdAPI
import Store
import Vocabulary

/// A piece of history for one watch: whole revisions only, bounded in revisions, bytes and changes looked at.
struct ReplayChunk {
    /// etcd sends at most this many revisions in one catch-up response.
    private static let maximumRevisions = 1_000
    private static let maximumBytes = 512 << 10

    /// Encoded for a stream; empty for an observer.
    private(set) var events = EncodedEvents()
    /// For an observer; empty for a stream.
    private(set) var observed: [ObservedEvent] = []
    /// Where the watch goes on.
    private(set) var next: Revision
    /// Nothing more in the store at the time of reading.
    private(set) var reachedEnd = true
    private(set) var scanned = 0
    let headerRevision: Revision

    /// - Parameter limit: changes to look at before stopping at the next revision's border.
    /// - Throws: `StoreError.compacted` when history at the watch's next revision is gone.
    init(of watcher: Watcher, from snapshot: Snapshot, scanning limit: Int) throws {
        headerRevision = snapshot.revision
        next = watcher.next
        guard watcher.next <= snapshot.revision else { return }
        guard watcher.next >= snapshot.compactedRevision else {
            throw StoreError.compacted(requested: watcher.next, compacted: snapshot.compactedRevision)
        }

        var revisionsSent = 0
        var current = Revision.zero
        var currentHasEvents = false
        var stoppedAt: Revision?
        try snapshot.forEachChange(from: watcher.next, through: snapshot.revision) { change in
            if change.revision != current {
                if currentHasEvents { revisionsSent += 1 }
                let isFull =
                    scanned >= limit || revisionsSent >= Self.maximumRevisions
                    || events.bytes.count >= Self.maximumBytes
                if isFull, current != .zero {
                    stoppedAt = change.revision
                    return .stop
                }
                current = change.revision
                currentHasEvents = false
            }
            scanned += 1
            guard watcher.shape.wants(isDeletion: change.isDeletion) else { return .next }
            let described = try KeyValueView(change.keyValue)
            guard watcher.range.contains(described.key) else { return .next }
            currentHasEvents = true
            switch watcher.consumer {
            case .observer:
                observed.append(
                    ObservedEvent(
                        revision: change.revision, isDeletion: change.isDeletion, keyValue: [UInt8](change.keyValue)))
            case .stream:
                var previous: [UInt8]?
                if watcher.shape.contains(.previousKeyValue),
                    change.isDeletion || described.createRevision != described.modRevision
                {
                    previous = try snapshot.keyValueBefore(change.revision, of: described.key)
                }
                events.append(change.keyValue, isDeletion: change.isDeletion, previous: previous)
            }
            return .next
        }
        if let stoppedAt {
            next = stoppedAt
            reachedEnd = false
        } else {
            next = snapshot.revision.next
        }
    }
}

extension Snapshot {
    /// What a key held just before a revision, as an encoded `mvccpb.KeyValue`; nil when it did not exist then, or when
    /// compaction has taken it, as etcd leaves it out too.
    func keyValueBefore(_ revision: Revision, of key: UnsafeRawBufferPointer) throws -> [UInt8]? {
        do throws(StoreError) {
            guard let record = try record(of: key, at: revision.previous) else { return nil }
            return [UInt8](try keyValue(of: record))
        } catch {
            guard case .compacted = error else { throw error }
            return nil
        }
    }
}
