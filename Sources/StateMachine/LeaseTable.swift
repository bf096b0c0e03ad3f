import Synchronization
public import Vocabulary

/// The leases there are and the keys that hang on them.
///
/// Written by apply on the log thread, read from anywhere; a mutex guards it. It knows no time: when a lease is due is
/// the leader's clock's business.
public final class LeaseTable: Sendable {
    /// Names one attachment of a key to a lease: the write that made it. Unique, and short whatever the key.
    package struct Attachment: Hashable, Comparable {
        let revision: Revision
        let sub: UInt32

        package init(revision: Revision, sub: UInt32) {
            self.revision = revision
            self.sub = sub
        }

        package static func < (a: Attachment, b: Attachment) -> Bool { (a.revision, a.sub) < (b.revision, b.sub) }
    }

    struct Lease {
        let timeToLiveSeconds: Int64
        /// Tells it from one of the same id that was granted before.
        let grant: UInt64
        var keys = BytesTable<Attachment>()
        /// Who may do what with all its keys; nil until somebody who is judged by them asks.
        var judgements: LeaseJudgements?
    }

    let leases = Mutex<[LeaseID: Lease]>([:])
    private let grants = Atomic<UInt64>(0)

    package init() {}

    /// Whether the lease was granted and not revoked.
    public func exists(_ id: LeaseID) -> Bool {
        leases.withLock { $0[id] != nil }
    }

    /// The time to live the lease was granted, in seconds; nil when there is no such lease.
    public func timeToLive(_ id: LeaseID) -> Int64? {
        leases.withLock { $0[id]?.timeToLiveSeconds }
    }

    /// The keys attached to the lease, in byte order.
    public func keys(of id: LeaseID) -> [[UInt8]] {
        let keys = leases.withLock { $0[id].map { Array($0.keys.keys) } ?? [] }
        return keys.sorted { $0.lexicographicallyPrecedes($1) }
    }

    /// All leases and their times to live in seconds, by id.
    public func all() -> [(id: LeaseID, timeToLiveSeconds: Int64)] {
        leases.withLock { $0.map { (id: $0.key, timeToLiveSeconds: $0.value.timeToLiveSeconds) } }.sorted {
            $0.id < $1.id
        }
    }

    /// How many leases there are.
    public var count: Int { leases.withLock { $0.count } }

    /// The write that made a key hang on a lease; nil when it does not.
    func attachment(of key: [UInt8], to id: LeaseID) -> Attachment? {
        leases.withLock { $0[id]?.keys[key] }
    }

    /// What hangs on a lease, in no order.
    func attachments(of id: LeaseID) -> [(key: [UInt8], attachment: Attachment)] {
        leases.withLock { $0[id]?.keys.map { (key: $0.key, attachment: $0.value) } ?? [] }
    }

    /// Visits every attachment, in no order.
    func forEachAttachment(_ visit: ([UInt8], LeaseID, Attachment) -> Void) {
        for (id, lease) in leases.withLock({ $0 }) {
            for (key, attachment) in lease.keys { visit(key, id, attachment) }
        }
    }

    package func grant(_ id: LeaseID, timeToLiveSeconds: Int64) {
        let grant = grants.add(1, ordering: .relaxed).newValue
        leases.withLock { $0[id] = Lease(timeToLiveSeconds: timeToLiveSeconds, grant: grant) }
    }

    /// Forgets a lease; returns its attachments in byte order of their keys.
    package func revoke(_ id: LeaseID) -> [(key: [UInt8], attachment: Attachment)] {
        let lease = leases.withLock { $0.removeValue(forKey: id) }
        return (lease?.keys ?? BytesTable()).map { (key: $0.key, attachment: $0.value) }
            .sorted { $0.key.lexicographicallyPrecedes($1.key) }
    }

    package func attach(_ key: [UInt8], to id: LeaseID, _ attachment: Attachment) {
        leases.withLock {
            guard $0[id]?.keys.updateValue(attachment, forKey: key) == nil else { return }
            $0[id]?.judgements?.attached(key)
        }
    }

    package func detach(_ key: [UInt8], from id: LeaseID) -> Attachment? {
        leases.withLock { $0[id]?.keys.removeValue(forKey: key) }
    }
}
