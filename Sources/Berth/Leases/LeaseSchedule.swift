/// Knows when each lease is to be renewed and until when it certainly lives. Pure: callers pass the time; no stream, no
/// timer.
///
/// A lease's deadline counts from before the request that renewed it was sent: the server counts from later, so the
/// lease outlives the deadline, whatever the network did.
package struct LeaseSchedule: Sendable {
    package typealias Instant = ContinuousClock.Instant

    private struct Entry {
        var timeToLive: Duration
        var deadline: Instant
        var renewAt: Instant
        /// When the renewal on its way was sent; nil when none is.
        var sentAt: Instant?
        /// When the answer should be here at the latest.
        var answerDue: Instant?
    }

    /// What is to be done at some time.
    package struct Work: Sendable, Equatable {
        /// Send a renewal for each.
        package var due: [LeaseID] = []
        /// These have ended as far as this client may rely on them.
        package var lost: [LeaseID] = []
        /// A renewal was not answered for so long that another stream should be tried.
        package var isStalled = false
        /// When to ask again; nil when no lease is kept.
        package var next: Instant?
    }

    /// Renewals that fall due within this time are sent together.
    package static let granularity = Duration.milliseconds(50)
    private let renewalInterval: Duration?
    private var entries: [LeaseID: Entry] = [:]

    /// Keeps no lease yet.
    ///
    /// - Parameter renewalInterval: how long after a renewal the next is due; nil means a third of the lease's time.
    package init(renewalInterval: Duration? = nil) { self.renewalInterval = renewalInterval }

    /// Whether no lease is kept.
    package var isEmpty: Bool { entries.isEmpty }

    /// Until when a lease certainly lives; nil for one that is not kept.
    package func deadline(of id: LeaseID) -> Instant? { entries[id]?.deadline }

    /// Keeps a lease that was granted or renewed by a request sent at `sentAt`. A renewal on its way stays so: its answer
    /// must not be taken for that of a later one.
    package mutating func add(_ id: LeaseID, timeToLive: Duration, sentAt: Instant) {
        var entry = Entry(
            timeToLive: timeToLive, deadline: sentAt + timeToLive,
            renewAt: sentAt + (renewalInterval ?? timeToLive / 3))
        if let before = entries[id] {
            entry.deadline = max(before.deadline, entry.deadline)
            entry.sentAt = before.sentAt
            entry.answerDue = before.answerDue
        }
        entries[id] = entry
    }

    /// Forgets a lease.
    package mutating func remove(_ id: LeaseID) { entries[id] = nil }

    /// The server answered the renewal on its way: the lease lives `timeToLive` from when that was sent.
    ///
    /// - Returns: whether the lease is gone.
    package mutating func answered(_ id: LeaseID, timeToLive: Duration) -> Bool {
        guard var entry = entries[id], let sentAt = entry.sentAt else { return false }
        guard timeToLive > .zero else {
            entries[id] = nil
            return true
        }
        entry.timeToLive = timeToLive
        entry.deadline = max(entry.deadline, sentAt + timeToLive)
        entry.renewAt = sentAt + (renewalInterval ?? timeToLive / 3)
        entry.sentAt = nil
        entry.answerDue = nil
        entries[id] = entry
        return false
    }

    /// The stream is gone, and answers on it with it: what was on its way is due at once on the next.
    package mutating func disconnected(now: Instant) {
        for id in entries.keys where entries[id]?.sentAt != nil {
            entries[id]?.sentAt = nil
            entries[id]?.answerDue = nil
            entries[id]?.renewAt = now
        }
    }

    /// What is to be done at `now`.
    ///
    /// - Parameter canSend: there is a stream; without one nothing is due.
    package mutating func work(now: Instant, canSend: Bool) -> Work {
        var work = Work()
        for (id, entry) in entries {
            if entry.deadline <= now {
                work.lost.append(id)
                entries[id] = nil
                continue
            }
            var wake = entry.deadline
            if let answerDue = entry.answerDue {
                if answerDue <= now { work.isStalled = true } else { wake = min(wake, answerDue) }
            } else if canSend {
                if entry.renewAt <= now + Self.granularity {
                    let answerDue = now + max(entry.timeToLive / 3, .seconds(1))
                    entries[id]?.sentAt = now
                    entries[id]?.answerDue = answerDue
                    work.due.append(id)
                    wake = min(wake, answerDue)
                } else {
                    wake = min(wake, entry.renewAt)
                }
            }
            work.next = min(work.next ?? wake, wake)
        }
        return work
    }
}
