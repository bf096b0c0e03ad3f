import EtcdAPI
import ProtobufWire
import Store
public import Vocabulary

/// What a request for a place came to.
public struct EnteredPlace: Sendable {
    /// The owner key.
    public let key: [UInt8]
    /// Its create revision; zero when nothing was entered.
    public var token = Revision.zero
    /// The lease it hangs on.
    public let lease: LeaseID
    /// What the lease lives without being renewed, in seconds.
    public var timeToLive: Int64 = 0
    /// Places before it.
    public var ahead = 0
    /// It holds already.
    public var holds = false
    /// The place is this request's until the same place is asked for again: a release that names the claim does nothing
    /// to a place that was claimed since.
    public var claim: Int64 = 0
    /// No other place hangs on the lease.
    public var isAlone = true
    /// This entry made the place; otherwise the lease had it before.
    public var isNew = false
    /// The lease was granted by an acquire, and ends with its last place.
    public var ownsLease = false
    /// The store's revision after the entry.
    public var revision = Revision.zero
    /// The key's value before, when the place is not new.
    public var earlierValue: [UInt8]?
    /// Nothing was entered, because somebody holds: the first place in line as a `berth.v1.Place`.
    public var holder: [UInt8]?
}

// Commands of berth.v1, each one entry.
extension StateMachine {
    /// Grants the lease unless it exists, and enters the line; or, if it must hold at once and would not, does nothing.
    func applyAcquire(_ request: AcquireView) throws(RequestFailure) -> EnteredPlace {
        guard let mode = request.mode, request.lease != .none else {
            throw .refused(.invalidLockRequest("an acquire without lease or mode"))
        }
        cause = LineCause(at: request.at)
        let name = Array(request.name)
        var result = EnteredPlace(key: QueueKey.make(name: name, lease: request.lease), lease: request.lease)
        result.revision = writer.currentRevision
        if let place = try standing(result.key, request.lease, name) {
            guard place.terms.fits(request, mode) else { throw .refused(.placeDiffers) }
            if request.origin != .etcd { try claim(place) }
            return try describe(place, lines[name], result)
        }
        try refuse { () throws(EtcdError) in try alarms.refuseWrite(thatGrows: true) }
        guard try view.recordOrFailure(of: result.key, at: writer.currentRevision) == nil else {
            throw .refused(.placeTaken)
        }
        let leaseExists = leases.exists(request.lease)
        if request.triesOnce, let line = lines[name], !line.wouldHold(mode, permits: request.permits),
            let first = line.first
        {
            // With a lease that does not exist and was not asked for, that is the error.
            guard leaseExists || request.timeToLive > 0 else { throw .refused(.leaseNotFound) }
            result.holder = PlaceRecord(first).encoded()
            result.ahead = line.count
            return result
        }
        if !leaseExists {
            guard request.timeToLive > 0 else { throw .refused(.leaseNotFound) }
            guard request.timeToLive <= Limits.maximumLeaseSeconds else { throw .refused(.leaseTimeToLiveTooLarge) }
            try storing { () throws(StoreError) in try grant(request.lease, request.timeToLive) }
        }
        let ownsLease = request.timeToLive > 0 && (!leaseExists || lines.places(of: request.lease).owning > 0)
        return try enter(request, mode, ownsLease: ownsLease, result)
    }

    private func enter(
        _ request: AcquireView, _ mode: LockMode, ownsLease: Bool, _ prepared: EnteredPlace
    ) throws(RequestFailure) -> EnteredPlace {
        var result = prepared
        let terms = request.origin == .etcd ? nil : PlaceTerms(request, mode, ownsLease: ownsLease)
        var changes = Changes(base: writer.currentRevision)
        let name = Array(request.name)
        result.ahead = lines[name]?.count ?? 0
        try storing { () throws(StoreError) in
            try result.key.withRawBytes { key throws(StoreError) in
                // A lock's key shows its owner's label, an election's carries the proposal.
                let value = request.origin == .lock ? request.owner : request.value
                try write(key, value, request.lease, previous: nil, changes: &changes, terms: terms)
                counts.add(.puts)
            }
        }
        result.revision = changes.revision
        result.token = changes.revision
        result.timeToLive = leases.timeToLive(request.lease) ?? 0
        result.isNew = true
        result.ownsLease = terms?.ownsLease ?? false
        result.isAlone = lines.places(of: request.lease).places == 1
        result.holds = lines[name]?.place(token: result.token)?.holds ?? false
        return result
    }

    /// The place is asked for again: whoever asked before, and may not know yet that nobody listens there, has it no more.
    private func claim(_ place: LockPlace) throws(RequestFailure) {
        place.claim += 1
        try storing { () throws(StoreError) in try store(place) }
    }

    /// The place a lease has in a line already.
    private func standing(
        _ key: [UInt8], _ lease: LeaseID, _ name: [UInt8]
    ) throws(RequestFailure) -> LockPlace? {
        guard let line = lines[name], let entered = leases.attachment(of: key, to: lease) else { return nil }
        return line.place(entered: entered)
    }

    private func describe(
        _ place: LockPlace, _ line: LockLine?, _ prepared: EnteredPlace
    ) throws(RequestFailure) -> EnteredPlace {
        var result = prepared
        result.token = place.token
        result.timeToLive = leases.timeToLive(place.lease) ?? 0
        result.ahead = line?.ahead(of: place) ?? 0
        result.holds = place.holds
        result.ownsLease = place.terms.ownsLease
        result.claim = place.claim
        result.isAlone = lines.places(of: place.lease).places == 1
        var value: [UInt8] = []
        try storing { () throws(StoreError) in
            let record = try place.key.withRawBytes { key throws(StoreError) in
                try writer.view.record(of: key, at: writer.currentRevision)
            }
            if let record { value = Array(try storedKeyValue(try writer.view.keyValue(of: record)).value) }
        }
        result.earlierValue = value
        return result
    }

    /// Ends a place if its key still has the token as create revision.
    func applyRelease(_ request: ReleaseView, _ term: RaftTerm) throws(RequestFailure) -> [UInt8] {
        try refuse { () throws(EtcdError) in try alarms.refuseWrite(thatGrows: false) }
        cause = LineCause(at: request.at)
        var changes = Changes(base: writer.currentRevision)
        var isReleased = false
        try storing { () throws(StoreError) in
            let record = try writer.view.record(of: request.key, at: changes.base)
            // Only places are released: another key with that create revision is nobody's to delete this way.
            guard let record, record.createRevision == request.token,
                let place = place(Array(request.key), record), request.claim.map({ $0 == place.claim }) ?? true
            else { return }
            try end(place, record, &changes)
            isReleased = true
        }
        return BerthResponse.released(
            header: template.header(revision: changes.revision, term: term), isReleased)
    }

    /// Takes a place away from whoever has it.
    func applyBreak(_ request: BreakView, _ term: RaftTerm) throws(RequestFailure) -> [UInt8] {
        try refuse { () throws(EtcdError) in try alarms.refuseWrite(thatGrows: false) }
        guard let place = place(of: request) else { throw .refused(.noSuchPlace) }
        cause = LineCause(kind: .broken(by: Array(request.by), reason: Array(request.reason)), at: request.at)
        let broken = PlaceRecord(place).encoded()
        var changes = Changes(base: writer.currentRevision)
        try storing { () throws(StoreError) in
            let record = try place.key.withRawBytes { key throws(StoreError) in
                try writer.view.record(of: key, at: changes.base)
            }
            guard let record else {
                throw .corrupt(place: "places", detail: "a place in line has no key")
            }
            try end(place, record, &changes)
        }
        return BerthResponse.broken(
            header: template.header(revision: changes.revision, term: term), place: broken)
    }

    /// The place a key with a record stands in line with.
    private func place(_ key: [UInt8], _ record: KeyRecord) -> LockPlace? {
        guard let nameCount = key.withUnsafeBytes({ QueueKey.nameCount(of: $0, lease: record.lease) }),
            let entered = leases.attachment(of: key, to: record.lease)
        else { return nil }
        return lines[Array(key.prefix(nameCount))]?.place(entered: entered)
    }

    /// Deletes a place's key, and with the last place of a lease that was granted for places that lease.
    private func end(_ place: LockPlace, _ record: KeyRecord, _ changes: inout Changes) throws(StoreError) {
        if place.terms.ownsLease, lines.places(of: place.lease).places == 1 {
            return try endLease(place.lease, &changes)
        }
        counts.add(.deletes)
        try delete(place.key, record, changes: &changes)
        try detach(place.key, from: place.lease, at: changes.revision)
    }

    /// Runs what can only fail with the store.
    func storing(_ body: () throws(StoreError) -> Void) throws(RequestFailure) {
        do throws(StoreError) { try body() } catch { throw .store(error) }
    }
}

extension Snapshot {
    fileprivate func recordOrFailure(of key: [UInt8], at revision: Revision) throws(RequestFailure) -> KeyRecord? {
        do throws(StoreError) {
            return try key.withRawBytes { key throws(StoreError) in try record(of: key, at: revision) }
        } catch {
            throw .store(error)
        }
    }
}

extension PlaceTerms {
    /// Whether a request for a place that stands already asks for what it is. etcd's services ask for no terms.
    func fits(_ request: AcquireView, _ mode: LockMode) -> Bool {
        guard request.origin != .etcd else { return true }
        let wanted = PlaceTerms(request, mode, ownsLease: false)
        return isProtected && mode == self.mode && permits == wanted.permits && guards == wanted.guards
    }

    /// What a request of `berth.v1` says. The request may come without a guard, which means the key named like the lock.
    init(_ request: AcquireView, _ mode: LockMode, ownsLease: Bool) {
        self.mode = mode
        permits = request.permits
        owner = Array(request.owner)
        attributes = request.attributes.map { Array($0) }
        queuedAt = request.at
        self.ownsLease = ownsLease
        isProtected = true
        guards = request.guardedRanges
    }
}
