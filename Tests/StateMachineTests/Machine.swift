import EtcdAPI
import FoundationEssentials
import Glibc
import ProtobufWire
import StateMachine
import Store
import SwiftProtobuf
import Vocabulary

/// A state machine on a store of its own in a temporary folder, driven entry by entry.
final class Machine {
    static let identity = MemberIdentity(clusterID: 0xc1, memberID: 0x3e)
    static let term = RaftTerm(7)

    let limits: Limits
    private let folder: TemporaryFolder
    private(set) var store: Store
    private(set) var machine: StateMachine
    private(set) var nextIndex: UInt64 = 1
    /// What the last batch did.
    private(set) var lastBatch: CommittedBatch?

    init(limits: Limits = Limits()) throws {
        self.limits = limits
        folder = try TemporaryFolder()
        store = try Store.open(Self.configuration(folder.path))
        machine = try StateMachine(store: store, limits: limits)
    }

    deinit { store.abandon() }

    private static func configuration(_ path: String) -> StoreConfiguration {
        var configuration = StoreConfiguration(directory: path + "/data")
        configuration.sealBytes = 1 << 20
        configuration.youngMapBytes = 8 << 20
        configuration.baseMapBytes = 64 << 20
        configuration.expectedIdentity = identity
        return configuration
    }

    /// Loses what is not in base, opens the store again and expects entries from the first on.
    func crash() throws {
        store.abandon()
        store = try Store.open(Self.configuration(folder.path))
        machine = try StateMachine(store: store, limits: limits)
        nextIndex = 1
    }

    /// Makes everything applied durable, as a clean stop does.
    func restart() throws {
        store.close()
        store = try Store.open(Self.configuration(folder.path))
        machine = try StateMachine(store: store, limits: limits)
    }

    /// Applies an entry in a batch that stays open.
    func applyOpen(_ kind: CommandKind, _ request: Bytes) throws -> ApplyResult {
        let entry = [kind.rawValue] + request
        defer { nextIndex += 1 }
        return try entry.withUnsafeBytes {
            try machine.apply($0, index: RaftIndex(nextIndex), term: Self.term)
        }
    }

    @discardableResult
    func commit() throws -> CommittedBatch {
        let batch = try machine.commit()
        lastBatch = batch
        return batch
    }

    /// Applies an entry in a batch of its own; the response, or what refused it is thrown.
    func apply(_ kind: CommandKind, _ request: Bytes) throws -> Bytes {
        let result = try applyOpen(kind, request)
        try commit()
        switch result {
        case .response(let bytes): return bytes
        case .failure(let error): throw error
        case .entered, .skipped: throw UnexpectedField(number: -1)
        }
    }

    /// Enters a line.
    @discardableResult
    func acquire(_ message: AcquireMessage) throws -> EnteredPlace {
        let result = try applyOpen(.lockAcquire, message.encoded)
        try commit()
        switch result {
        case .entered(let place): return place
        case .failure(let error): throw error
        case .response, .skipped: throw UnexpectedField(number: -1)
        }
    }

    /// Whether this call ended the place.
    @discardableResult
    func release(_ key: String, token: Revision) throws -> Bool {
        let response = try apply(.lockRelease, ReleaseView.encoded(key: Array(key.utf8), token: token, at: 5))
        return try Berth_V1_ReleaseResponse(serializedBytes: response).released
    }

    func breakPlace(_ name: String, token: Revision = .zero, by: String = "op", reason: String = "stuck") throws {
        let request =
            try Berth_V1_BreakRequest.with {
                $0.name = Data(name.utf8)
                $0.token = token.value
                $0.by = by
                $0.reason = reason
            }.serializedBytes() as [UInt8]
        _ = try apply(.lockBreak, request + BreakView.suffix(at: 6))
    }

    func expire(_ lease: Int64) throws {
        _ = try apply(.leaseExpire, LeaseExpiryView.encoded(id: LeaseID(lease), at: 7))
    }

    // MARK: - Requests, checked as a server checks them

    @discardableResult
    func put(_ message: PutMessage) throws -> PutReply {
        let bytes = message.encoded
        try bytes.withUnsafeBytes { _ = try RequestCheck.put($0, limits: limits, alarms: machine.alarms) }
        return try apply(.put, bytes).withUnsafeBytes { try PutReply($0) }
    }

    @discardableResult
    func put(_ key: String, _ value: String = "", lease: Int64 = 0) throws -> PutReply {
        try put(PutMessage(key, value, lease: lease))
    }

    @discardableResult
    func delete(_ message: DeleteMessage) throws -> DeleteReply {
        let bytes = message.encoded
        try bytes.withUnsafeBytes { _ = try RequestCheck.deleteRange($0, limits: limits, alarms: machine.alarms) }
        return try apply(.deleteRange, bytes).withUnsafeBytes { try DeleteReply($0) }
    }

    @discardableResult
    func delete(_ key: String, _ end: String = "") throws -> DeleteReply { try delete(DeleteMessage(key, end)) }

    /// Proposed, or answered from a snapshot, by what the check says.
    @discardableResult
    func txn(_ message: TxnMessage) throws -> TxnReply {
        let bytes = message.encoded
        let readOnly = try bytes.withUnsafeBytes { bytes -> Bytes? in
            let request = try RequestCheck.txn(bytes, limits: limits, alarms: machine.alarms)
            guard request.isReadOnly else { return nil }
            return try store.withSnapshot { snapshot in
                try unwrapRefusal { () throws(RequestFailure) in
                    try TxnReader.response(
                        to: request, on: snapshot, template: ResponseHeaderTemplate(store.identity), term: Self.term)
                }
            }
        }
        return try (readOnly ?? apply(.txn, bytes)).withUnsafeBytes { try TxnReply($0) }
    }

    func range(_ message: RangeMessage) throws -> RangeReply {
        let response = try message.encoded.withUnsafeBytes { bytes in
            let request = try RequestCheck.range(bytes)
            return try store.withSnapshot { snapshot in
                try unwrapRefusal { () throws(RequestFailure) in
                    try RangeReader.response(
                        to: request, on: snapshot, template: ResponseHeaderTemplate(store.identity), term: Self.term)
                }
            }
        }
        return try response.withUnsafeBytes { try RangeReply($0) }
    }

    func get(_ key: String) throws -> KV? { try range(RangeMessage(key)).kvs.first }

    @discardableResult
    func compact(_ revision: Int64) throws -> NumbersReply {
        let bytes = numbers(revision)
        try bytes.withUnsafeBytes { _ = try RequestCheck.compaction($0, alarms: machine.alarms) }
        return try apply(.compaction, bytes).withUnsafeBytes { try NumbersReply($0) }
    }

    @discardableResult
    func grant(_ id: Int64, seconds: Int64 = 60) throws -> NumbersReply {
        let bytes = numbers(seconds, id)
        try bytes.withUnsafeBytes { _ = try RequestCheck.leaseGrant($0, alarms: machine.alarms) }
        return try apply(.leaseGrant, bytes).withUnsafeBytes { try NumbersReply($0) }
    }

    @discardableResult
    func revoke(_ id: Int64) throws -> NumbersReply {
        let bytes = numbers(id)
        try bytes.withUnsafeBytes { _ = try RequestCheck.leaseRevoke($0, alarms: machine.alarms) }
        return try apply(.leaseRevoke, bytes).withUnsafeBytes { try NumbersReply($0) }
    }

    @discardableResult
    func alarm(action: Int64, member: Int64 = 0, kind: Int64 = 0) throws -> AlarmReply {
        let bytes = numbers(action, member, kind)
        try bytes.withUnsafeBytes { _ = try RequestCheck.alarm($0) }
        return try apply(.alarm, bytes).withUnsafeBytes { try AlarmReply($0) }
    }

    var hash: UInt32 {
        get throws { try store.withSnapshot { try $0.hash() } }
    }
}

/// What a full header of the machine's answers looks like.
func header(_ revision: Int64) -> Header {
    Header(
        clusterID: Machine.identity.clusterID, memberID: Machine.identity.memberID, revision: revision,
        term: Machine.term.value)
}

/// Throws the error a client would get.
func unwrapRefusal<R>(_ body: () throws(RequestFailure) -> R) throws -> R {
    do throws(RequestFailure) {
        return try body()
    } catch {
        switch error {
        case .refused(let error): throw error
        case .store(let error): throw error
        }
    }
}

/// A folder that goes with its owner.
final class TemporaryFolder {
    let path: String

    init() throws {
        var template = Array("/tmp/berth-state-machine-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw POSIXFailure(code: errno) }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        for folder in ["base", "young-a", "young-b", "log"] {
            for file in ["data.mdb", "lock.mdb", "pages.sum"] { unlink("\(path)/data/\(folder)/\(file)") }
            rmdir("\(path)/data/\(folder)")
        }
        unlink("\(path)/data/lock")
        rmdir("\(path)/data")
        rmdir(path)
    }
}

struct POSIXFailure: Error {
    let code: Int32
}
