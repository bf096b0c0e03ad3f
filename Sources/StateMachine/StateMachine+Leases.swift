import EtcdAPI
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
        do throws(StoreError) {
            try writer.setRecord(
                .leases, key: LeaseRecords.leaseKey(request.id),
                value: LeaseRecords.leaseValue(timeToLiveSeconds: timeToLive))
        } catch {
            throw .store(error)
        }
        leases.grant(request.id, timeToLiveSeconds: timeToLive)
        leaseChanges.append(.granted(request.id, timeToLiveSeconds: timeToLive))
        return LeaseResponse.encoded(header: header(term), id: request.id, timeToLive: timeToLive)
    }

    /// Deletes the lease's keys in byte order at one revision, then the lease.
    func applyRevoke(_ request: LeaseIDRequestView, _ term: RaftTerm) throws(RequestFailure) -> [UInt8] {
        try refuse { () throws(EtcdError) in try alarms.refuseWrite(thatGrows: false) }
        guard leases.exists(request.id) else { throw .refused(.leaseNotFound) }
        var changes = Changes(base: writer.currentRevision)
        do throws(StoreError) {
            for (key, attachment) in leases.revoke(request.id) {
                try writer.setRecord(
                    .leaseKeys, key: LeaseRecords.attachmentKey(request.id, attachment), value: nil)
                let record = try key.withRawBytes { key throws(StoreError) in
                    try writer.view.record(of: key, at: changes.revision)
                }
                guard let record, record.lease == request.id else {
                    throw .corrupt(
                        place: "lease_keys", detail: "lease \(request.id) holds a key that is absent or not its own")
                }
                try delete(key, record, changes: &changes)
            }
            try writer.setRecord(.leases, key: LeaseRecords.leaseKey(request.id), value: nil)
        } catch {
            throw .store(error)
        }
        leaseChanges.append(.revoked(request.id))
        return HeaderOnlyResponse.encoded(header: header(term))
    }

    func attach(_ key: [UInt8], to id: LeaseID, _ attachment: LeaseTable.Attachment) throws(StoreError) {
        leases.attach(key, to: id, attachment)
        try writer.setRecord(.leaseKeys, key: LeaseRecords.attachmentKey(id, attachment), value: key)
    }

    func detach(_ key: [UInt8], from id: LeaseID) throws(StoreError) {
        // A lease that is being revoked has let go of its keys already.
        guard let attachment = leases.detach(key, from: id) else { return }
        try writer.setRecord(.leaseKeys, key: LeaseRecords.attachmentKey(id, attachment), value: nil)
    }
}
