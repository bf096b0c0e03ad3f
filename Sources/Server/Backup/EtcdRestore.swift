import EtcdAPI
import ProtobufWire
import StateMachine
import Store
import SwiftProtobuf
import Vocabulary

/// Builds a data folder from a file of etcd's: history, leases, compaction, alarms, users and roles. What told of the old
/// cluster's members stays behind, as in a restore from Berth's own snapshot.
struct EtcdRestore {
    /// Bytes of a value, at most: more than any request that a server can be told to take.
    private static let largestValue = 96 << 20
    /// Times to live that etcd grants, in seconds.
    private static let timesToLive: ClosedRange<Int64> = 1...Limits.maximumLeaseSeconds

    private let target: StoreImport
    private(set) var clearedAlarms = 0

    init(_ target: StoreImport) { self.target = target }

    /// Takes an entry of one of etcd's buckets.
    mutating func add(
        _ bucket: EtcdBucket, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer
    ) throws(SnapshotError) {
        switch bucket {
        case .key: try addChange(key, value)
        case .lease: try addLease(key, value)
        case .alarm: try addAlarm(key)
        case .auth: try addSetting(Array(key), Array(value))
        case .authUsers: try addUser(Array(key), Array(value))
        case .authRoles: try addRole(Array(key), Array(value))
        case .cluster, .members, .membersRemoved, .meta: break
        }
    }

    /// What the store is as a whole, once everything was added.
    func finish(_ description: SnapshotFile.EtcdDescription) throws(SnapshotError) -> StoreImport.Position {
        let compacted = description.compactedRevision ?? 0
        if description.compactedRevision == 0 {
            try target.add(.meta, key: StateMachine.compactedToZeroKey, value: [1])
        }
        // After a compaction that took all keys, nothing is stored that tells the newest revision.
        let current = max(target.newestRevision, Revision(compacted), .initial)
        return StoreImport.Position(currentRevision: current, compactedRevision: Revision(compacted))
    }

    // MARK: -

    private func addChange(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) throws(SnapshotError) {
        guard let (revision, isDeletion) = EtcdRevision.read(key) else {
            throw target.refused("bucket key has an entry of \(key.count) bytes that is no revision")
        }
        let place = "revision \(revision.main).\(revision.sub)"
        guard value.count <= Self.largestValue else {
            throw target.refused("\(place) has \(value.count) bytes, expected \(Self.largestValue) at most")
        }
        let change: KeyValueFields
        do throws(WireError) {
            change = try KeyValueFields(value)
        } catch {
            throw target.refused("\(place) is no key-value: \(error)")
        }
        guard !change.key.isEmpty else { throw target.refused("\(place) has no key") }
        var message = WireWriter(capacity: value.count + 16)
        message.bytesField(1, change.key)
        if isDeletion {
            message.int64Field(3, revision.main.value)
        } else {
            message.int64Field(2, change.create)
            message.int64Field(3, change.mod)
            message.int64Field(4, change.version)
            message.bytesField(5, change.value)
            message.int64Field(6, change.lease)
        }
        try target.add(revision.main, revision.sub, isDeletion: isDeletion, keyValue: message.bytes)
    }

    private func addLease(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) throws(SnapshotError) {
        var id: Int64 = 0
        var timeToLive: Int64 = 0
        do throws(WireError) {
            var reader = WireReader(value)
            while let field = try reader.nextField() {
                switch field.field {
                case 1: id = try reader.int64(of: field)
                case 2: timeToLive = try reader.int64(of: field)
                default: try reader.skip(field)
                }
            }
        } catch {
            throw target.refused("a lease is no message: \(error)")
        }
        guard key.count == 8, id != 0, Int64(bigEndian: key.loadUnaligned(as: Int64.self)) == id,
            Self.timesToLive.contains(timeToLive)
        else { throw target.refused("lease \(String(id, radix: 16)) of \(timeToLive) seconds cannot be") }
        let lease = LeaseID(id)
        try target.add(
            .leases, key: LeaseRecords.leaseKey(lease),
            value: LeaseRecords.leaseValue(timeToLiveSeconds: timeToLive))
    }

    /// An alarm about the space of the old member stays behind, as that member does.
    private mutating func addAlarm(_ key: UnsafeRawBufferPointer) throws(SnapshotError) {
        let alarm = try decode(Etcdserverpb_AlarmMember.self, Array(key), "an alarm")
        switch alarm.alarm {
        case .nospace: clearedAlarms += 1
        case .corrupt:
            let record = AlarmSet.Alarm(kind: .corrupt, memberID: alarm.memberID).recordKey
            try target.add(.alarms, key: record, value: [1])
        case .none, .UNRECOGNIZED:
            throw target.refused("there is an alarm of kind \(alarm.alarm.rawValue)")
        }
    }

    private func addSetting(_ name: [UInt8], _ value: [UInt8]) throws(SnapshotError) {
        let text = String(decoding: name, as: UTF8.self)
        switch name {
        case EtcdName.authEnabled where value == [0] || value == [1]: break
        case EtcdName.authRevision where value.count == 8: break
        case EtcdName.authEnabled, EtcdName.authRevision:
            throw target.refused("\(text) in bucket auth has \(value.count) bytes, which cannot be")
        // Of no meaning in the versions that are known.
        default: return
        }
        try target.add(.meta, key: name, value: value)
    }

    private func addUser(_ name: [UInt8], _ value: [UInt8]) throws(SnapshotError) {
        guard try decode(Authpb_User.self, value, "a user").name.elementsEqual(name) else {
            throw target.refused("user \(String(decoding: name, as: UTF8.self)) is stored under another name")
        }
        try target.add(.users, key: name, value: value)
    }

    private func addRole(_ name: [UInt8], _ value: [UInt8]) throws(SnapshotError) {
        guard try decode(Authpb_Role.self, value, "a role").name.elementsEqual(name) else {
            throw target.refused("role \(String(decoding: name, as: UTF8.self)) is stored under another name")
        }
        try target.add(.roles, key: name, value: value)
    }

    private func decode<Value: Message>(
        _ type: Value.Type, _ bytes: [UInt8], _ what: String
    ) throws(SnapshotError) -> Value {
        do {
            return try Value(serializedBytes: bytes)
        } catch {
            throw target.refused("\(what) is no message: \(error)")
        }
    }
}

/// An `mvccpb.KeyValue`, in place.
private struct KeyValueFields {
    var key = UnsafeRawBufferPointer(start: nil, count: 0)
    var create: Int64 = 0
    var mod: Int64 = 0
    var version: Int64 = 0
    var value = UnsafeRawBufferPointer(start: nil, count: 0)
    var lease: Int64 = 0

    init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = WireReader(bytes)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: key = try reader.bytes(of: field)
            case 2: create = try reader.int64(of: field)
            case 3: mod = try reader.int64(of: field)
            case 4: version = try reader.int64(of: field)
            case 5: value = try reader.bytes(of: field)
            case 6: lease = try reader.int64(of: field)
            default: try reader.skip(field)
            }
        }
    }
}
