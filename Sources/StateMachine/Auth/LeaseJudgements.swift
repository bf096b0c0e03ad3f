import Synchronization
package import Vocabulary

/// Who may do what with all keys of one lease, as far as they were looked at: so that a lease of a hundred thousand keys is
/// walked once for a user, and not once for each key that is put on it.
///
/// A judgement holds for one user at one auth revision, as those decide what the user may do, and for the keys that were
/// there; those that came since are in `recent` and are looked at when the user asks again.
///
/// Isolation: none of its own; the lease table's mutex guards it.
struct LeaseJudgements {
    /// Keys of a lease that an event loop looks at; one with more is left to apply unless most were judged before.
    static let longestEarly = 256
    /// Leases with fewer keys are looked at anew each time, and nothing is remembered.
    static let shortest = 64
    /// Users remembered for a lease. Beyond, all are forgotten, and looked at anew.
    private static let maximumUsers = 64
    /// Keys remembered since a judgement, and their bytes. Beyond, the oldest half is dropped; who was not judged by those
    /// is judged by all keys anew.
    private static let maximumRecent = 1_024
    private static let maximumRecentBytes = 1 << 20

    private struct Judgement {
        let authRevision: UInt64
        /// Attachments counted when it was made.
        let through: Int
        /// A key that may not be written; nil when all may.
        let deniedKey: [UInt8]?
    }

    private var judgements: [AuthName: Judgement] = [:]
    /// Attachments counted since somebody was judged first.
    private(set) var attachments = 0
    /// The newest of them.
    private var recent: [[UInt8]] = []
    private var recentBytes = 0

    /// What is known of a user.
    enum Known {
        case denied
        /// All keys may be written but for these, which are to be looked at.
        case permitted(except: [[UInt8]])
        case nothing
    }

    /// - Parameter isAttached: whether a key still hangs on the lease.
    func known(of user: AuthName, authRevision: UInt64, isAttached: ([UInt8]) -> Bool) -> Known {
        guard let judgement = judgements[user], judgement.authRevision == authRevision else { return .nothing }
        if let key = judgement.deniedKey { return isAttached(key) ? .denied : .nothing }
        let added = attachments - judgement.through
        return added <= recent.count ? .permitted(except: Array(recent.suffix(added))) : .nothing
    }

    /// Remembers what came of looking at all keys that were there when `attachments` was `through`.
    mutating func remember(_ user: AuthName, authRevision: UInt64, through: Int, deniedKey: [UInt8]?) {
        if let known = judgements[user] {
            // Another thread may have judged by a later state meanwhile.
            guard (known.authRevision, known.through) <= (authRevision, through) else { return }
        } else if judgements.count >= Self.maximumUsers {
            judgements = [:]
        }
        judgements[user] = Judgement(authRevision: authRevision, through: through, deniedKey: deniedKey)
    }

    /// A key that did not hang on the lease does now.
    mutating func attached(_ key: [UInt8]) {
        attachments += 1
        recent.append(key)
        recentBytes += key.count
        guard recent.count > Self.maximumRecent || recentBytes > Self.maximumRecentBytes else { return }
        var dropped = recent.count / 2
        var bytes = recentBytes - recent[..<dropped].reduce(0) { $0 + $1.count }
        while bytes > Self.maximumRecentBytes / 2, dropped < recent.count {
            bytes -= recent[dropped].count
            dropped += 1
        }
        recent.removeFirst(dropped)
        recentBytes = bytes
    }
}

extension LeaseTable {
    /// Whether anything hangs on a lease.
    func hasKeys(_ id: LeaseID) -> Bool {
        leases.withLock { !($0[id]?.keys.isEmpty ?? true) }
    }

    /// Whether all keys of a lease pass `permits`, which must be what `user` may do at `authRevision`.
    ///
    /// Keys are looked at outside the lock. Each key is looked at once for a user and an auth revision, but for leases of few
    /// keys, so to attach n keys one by one takes n looks, not n².
    ///
    /// - Parameter longest: with more keys to look at it answers true without a look; for who is asked again later.
    package func judge(
        _ id: LeaseID, for user: AuthName, authRevision: UInt64, longest: Int, _ permits: ([UInt8]) -> Bool
    ) -> Bool {
        enum Task {
            case done(Bool)
            case each([[UInt8]], through: Int, grant: UInt64)
            case all(BytesTable<Attachment>, through: Int?, grant: UInt64)
        }
        let task: Task = leases.withLock { leases in
            guard let lease = leases[id], !lease.keys.isEmpty else { return .done(true) }
            guard lease.keys.count >= LeaseJudgements.shortest else {
                return .all(lease.keys, through: nil, grant: lease.grant)
            }
            guard let judgements = lease.judgements else {
                guard lease.keys.count <= longest else { return .done(true) }
                // From here on what is attached is counted, also while the keys are looked at.
                leases[id]?.judgements = LeaseJudgements()
                return .all(lease.keys, through: 0, grant: lease.grant)
            }
            let through = judgements.attachments
            switch judgements.known(of: user, authRevision: authRevision, isAttached: { lease.keys[$0] != nil }) {
            case .denied: return .done(false)
            case .permitted(let keys):
                guard !keys.isEmpty else { return .done(true) }
                return keys.count <= longest ? .each(keys, through: through, grant: lease.grant) : .done(true)
            case .nothing:
                return lease.keys.count <= longest
                    ? .all(lease.keys, through: through, grant: lease.grant) : .done(true)
            }
        }
        switch task {
        case .done(let isPermitted): return isPermitted
        case .each(let keys, let through, let grant):
            // One that was taken off again does not count; rare enough to be looked up alone.
            let denied = keys.first { !permits($0) && attachment(of: $0, to: id) != nil }
            remember(id, user, authRevision, through, denied, grant)
            return denied == nil
        case .all(let keys, let through, let grant):
            let denied = keys.keys.first { !permits($0) }
            if let through { remember(id, user, authRevision, through, denied, grant) }
            return denied == nil
        }
    }

    private func remember(
        _ id: LeaseID, _ user: AuthName, _ authRevision: UInt64, _ through: Int, _ deniedKey: [UInt8]?, _ grant: UInt64
    ) {
        leases.withLock { leases in
            guard leases[id]?.grant == grant else { return }
            leases[id]?.judgements?.remember(
                user, authRevision: authRevision, through: through, deniedKey: deniedKey)
        }
    }
}
