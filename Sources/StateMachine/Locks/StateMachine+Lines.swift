import EtcdAPI
import Measures
public import Store
public import Vocabulary

// Lines follow the keys: a key that begins to hang on the lease it is named after enters a line, whoever wrote it, and
// leaves it when it goes or hangs elsewhere.
extension StateMachine {
    /// A key was attached to a lease.
    func enterLine(
        _ key: UnsafeRawBufferPointer, _ lease: LeaseID, _ entered: LeaseTable.Attachment, token: Revision,
        _ terms: PlaceTerms?
    ) throws(StoreError) {
        guard let nameCount = QueueKey.nameCount(of: key, lease: lease) else { return }
        let line = lines.line(named: Array(key.prefix(nameCount)))
        let place = LockPlace(
            key: Array(key), token: token, lease: lease, terms: terms ?? PlaceTerms(), entered: entered)
        let ahead = line.count
        place.enteredAt = measuredAt
        let holds = lines.enter(place, line)
        lines.show(in: counts)
        record(.queued, place, of: line, at: entered.revision, ahead: ahead, held: false)
        if holds {
            // Of a place that etcd's API made nothing is stored, so nothing may be remembered.
            if place.terms.isProtected { place.acquiredAt = cause.at }
            record(.acquired, place, of: line, at: entered.revision, ahead: ahead, held: true)
        }
        if terms != nil { try store(place) }
    }

    /// A key was detached from a lease, or is gone.
    func leaveLine(
        _ key: [UInt8], _ lease: LeaseID, _ entered: LeaseTable.Attachment, at revision: Revision
    ) throws(StoreError) {
        let nameCount = key.withUnsafeBytes { QueueKey.nameCount(of: $0, lease: lease) }
        guard let nameCount, let line = lines[Array(key.prefix(nameCount))],
            let place = line.place(entered: entered)
        else { return }
        let held = place.holds
        let ahead = lines.remove(place, line)
        lines.show(in: counts)
        record(cause.end(held: held), place, of: line, at: revision, ahead: ahead, held: held)
        if place.terms.isProtected {
            try writer.setRecord(.places, key: place.token.recordKey, value: nil)
        }
    }

    /// Tells those whose turn came by the entry just applied. All of an entry is one revision.
    func grantTurns() throws(StoreError) {
        guard lines.hasLeavings else { return }
        for (next, line) in lines.grantTurns() {
            record(.acquired, next, of: line, at: writer.currentRevision, ahead: line.ahead(of: next), held: true)
            guard next.terms.isProtected else { continue }
            next.acquiredAt = cause.at
            try store(next)
        }
        lines.show(in: counts)
    }

    /// A key that hangs on its lease got another value.
    func proclaimInLine(
        _ key: UnsafeRawBufferPointer, _ lease: LeaseID, at revision: Revision
    ) {
        guard let nameCount = QueueKey.nameCount(of: key, lease: lease), let line = lines[Array(key.prefix(nameCount))],
            let entered = leases.attachment(of: Array(key), to: lease), let place = line.place(entered: entered)
        else { return }
        record(.proclaimed, place, of: line, at: revision, ahead: line.ahead(of: place), held: place.holds)
    }

    func store(_ place: LockPlace) throws(StoreError) {
        try writer.setRecord(
            .places, key: place.token.recordKey, value: PlaceRecord(place).encoded())
    }

    private func record(
        _ kind: LineEventKind, _ place: LockPlace, of line: LockLine, at revision: Revision, ahead: Int, held: Bool
    ) {
        measure(kind, place, held: held)
        lineEvents.append(
            LineEvent(kind, place, of: line, at: revision, ahead: ahead, held: held, cause))
    }

    /// Takes the time of a place that begins to hold, or ends.
    private func measure(_ kind: LineEventKind, _ place: LockPlace, held: Bool) {
        switch kind {
        case .queued, .proclaimed, .moved: return
        case .acquired:
            place.heldSince = measuredAt
            guard measuredAt > 0, place.enteredAt > 0 else { return }
            return counts.lockWaits.observe(measuredAt - place.enteredAt)
        case .released: counts.add(.placesReleased)
        case .expired: counts.add(.placesExpired)
        case .gaveUp: counts.add(.placesGivenUp)
        case .broken: counts.add(.placesBroken)
        }
        guard held, measuredAt > 0, place.heldSince > 0 else { return }
        counts.lockHolds.observe(measuredAt - place.heldSince)
    }

    /// Stores the events of the entry just applied; all are of one revision.
    func storeLineEvents(since first: Int) throws(StoreError) {
        guard first < lineEvents.count else { return }
        let events = lineEvents[first...]
        try writer.setRecord(
            .lineEvents, key: lineEvents[first].revision.recordKey, value: LineEvent.record(events))
    }
}

/// The stored events of all lines, table `line_events`: under each revision those of that revision.
public enum LineHistory {
    /// Visits the events from a revision on, oldest first, a revision at a time.
    ///
    /// - Throws: `StoreError.compacted` when the revision lies below the compacted one.
    public static func forEachRevision(
        from start: Revision, in snapshot: Snapshot,
        _ visit: (Revision, [LineEvent]) throws -> Visit
    ) throws {
        guard start >= snapshot.compactedRevision else {
            throw StoreError.compacted(requested: start, compacted: snapshot.compactedRevision)
        }
        try snapshot.forEachRecord(.lineEvents, from: max(start, .zero).recordKey) { key, value in
            let revision = Revision(key.reduce(0) { $0 << 8 | Int64($1) })
            // Records are newer than the snapshot's revision only between a batch's commit and its publication.
            guard revision <= snapshot.revision else { return .stop }
            return try visit(revision, try LineEvent.read(record: value))
        }
    }
}
