import EtcdAPI
import Measures
import Store
import Vocabulary

// Leases: what the log grants and revokes, and the keys that hang on them.
extension StateMachine {
    func applyGrant(_ request: LeaseGrantRequestView, _ term: RaftTerm) throws(RequestFailure) -> [UInt8] {
        try refuse { () throws(EtcdError) in try alarms.refuseWrite(thatGrows: true) }
        guard request.id != .none else { throw .refused(.leaseNotFound) }
        guard request.timeToLive <= Limits.maximumLeaseSeconds else { throw .refused(.leaseTimeToLiveTooLarge) }
        guard !leases.exists(request.id) else { throw .refused(.leaseExists) }
        let timeToLive = max(request.timeToLive, limits.minimumLeaseSeconds)
        do throws(StoreError) { try grant(request.id, request.timeToLive) } catch { throw .store(error) }
        return LeaseResponse.encoded(header: header(term), id: request.id, timeToLive: timeToLive)
    }

    /// Begins a lease that does not exist. A time to live below the minimum is raised.
    func grant(_ id: LeaseID, _ wantedSeconds: Int64) throws(StoreError) {
        let timeToLive = max(wantedSeconds, limits.minimumLeaseSeconds)
        try writer.setRecord(
            .leases, key: LeaseRecords.leaseKey(id), value: LeaseRecords.leaseValue(timeToLiveSeconds: timeToLive))
        leases.grant(id, timeToLiveSeconds: timeToLive)
        leaseChanges.append(.granted(id, timeToLiveSeconds: timeToLive))
        counts.add(.leasesGranted)
        counts.leaseTimes.observe(Int(clamping: timeToLive))
    }

    /// Deletes the lease's keys in byte order at one revision, then the lease.
    func applyRevoke(_ id: LeaseID, _ cause: LineCause, _ term: RaftTerm) throws(RequestFailure) -> [UInt8] {
        try refuse { () throws(EtcdError) in try alarms.refuseWrite(thatGrows: false) }
        guard leases.exists(id) else { throw .refused(.leaseNotFound) }
        self.cause = cause
        var changes = Changes(base: writer.currentRevision)
        do throws(StoreError) { try endLease(id, &changes) } catch { throw .store(error) }
        if case .expiry = cause.kind { counts.add(.leasesExpired) }
        return HeaderOnlyResponse.encoded(header: header(term))
    }

    /// Ends a lease that exists, and its keys with it.
    func endLease(_ id: LeaseID, _ changes: inout Changes) throws(StoreError) {
        let attached = leases.revoke(id)
        OperationTally(deletes: attached.count).count(in: counts)
        counts.add(.leasesRevoked)
        for (key, attachment) in attached {
            try writer.setRecord(.leaseKeys, key: LeaseRecords.attachmentKey(id, attachment), value: nil)
            let record = try key.withRawBytes { key throws(StoreError) in
                try writer.view.record(of: key, at: changes.revision)
            }
            guard let record, record.lease == id else {
                throw .corrupt(place: "lease_keys", detail: "lease \(id) holds a key that is absent or not its own")
            }
            try delete(key, record, changes: &changes)
            try leaveLine(key, id, attachment, at: changes.revision)
        }
        try writer.setRecord(.leases, key: LeaseRecords.leaseKey(id), value: nil)
        leaseChanges.append(.revoked(id))
    }

    func attach(_ key: [UInt8], to id: LeaseID, _ attachment: LeaseTable.Attachment) throws(StoreError) {
        leases.attach(key, to: id, attachment)
        try writer.setRecord(.leaseKeys, key: LeaseRecords.attachmentKey(id, attachment), value: key)
    }

    func detach(_ key: [UInt8], from id: LeaseID, at revision: Revision) throws(StoreError) {
        // A lease that is being revoked has let go of its keys already.
        guard let attachment = leases.detach(key, from: id) else { return }
        try writer.setRecord(.leaseKeys, key: LeaseRecords.attachmentKey(id, attachment), value: nil)
        try leaveLine(key, id, attachment, at: revision)
    }
}
