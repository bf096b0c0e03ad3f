import EtcdAPI
import FoundationEssentials
import GRPCTransport
import NIOCore
import SwiftProtobuf
import Testing

/// One unary call under way.
struct CallInFlight: Sendable {
    let call: ClientCall
    private let answer: EventLoopFuture<[UInt8]>

    init(_ call: ClientCall, _ answer: EventLoopFuture<[UInt8]>) {
        self.call = call
        self.answer = answer
    }

    /// - Throws: the call's status when it is not success.
    func response<Response: Message>(_ type: Response.Type) async throws -> Response {
        try Response(serializedBytes: try await answer.get())
    }

    /// How the call ended.
    func status() async -> GRPCStatus {
        do {
            _ = try await answer.get()
            return .ok
        } catch let status as GRPCStatus {
            return status
        } catch {
            return GRPCStatus(.internal, "\(error)")
        }
    }
}

/// etcd's methods as the tests call them, with the generated messages.
extension GRPCClient {
    func begin(_ path: String, _ request: some Message) async throws -> CallInFlight {
        let bytes: [UInt8] = try request.serializedBytes()
        return try await eventLoop.submit {
            let promise = self.eventLoop.makePromise(of: [UInt8].self)
            let call = self.unary(path, bytes) { promise.completeWith($0.mapError { $0 as any Error }) }
            return CallInFlight(call, promise.futureResult)
        }.get()
    }

    func call<Response: Message>(_ path: String, _ request: some Message, _ type: Response.Type) async throws
        -> Response
    {
        try await begin(path, request).response(type)
    }

    /// - Returns: the revision of the put.
    @discardableResult
    func put(_ key: String, _ value: [UInt8] = [], lease: Int64 = 0) async throws -> Int64 {
        let request = Etcdserverpb_PutRequest.with {
            $0.key = Data(key.utf8)
            $0.value = Data(value)
            $0.lease = lease
        }
        return try await call("/etcdserverpb.KV/Put", request, Etcdserverpb_PutResponse.self).header.revision
    }

    @discardableResult
    func delete(_ key: String) async throws -> Etcdserverpb_DeleteRangeResponse {
        let request = Etcdserverpb_DeleteRangeRequest.with { $0.key = Data(key.utf8) }
        return try await call("/etcdserverpb.KV/DeleteRange", request, Etcdserverpb_DeleteRangeResponse.self)
    }

    /// The keys that begin with `prefix`.
    func range(prefix: String) async throws -> [Mvccpb_KeyValue] {
        let request = Etcdserverpb_RangeRequest.with {
            $0.key = Data(prefix.utf8)
            $0.rangeEnd = Data(prefixEnd(prefix))
        }
        return try await call("/etcdserverpb.KV/Range", request, Etcdserverpb_RangeResponse.self).kvs
    }

    func grant(_ id: Int64, seconds: Int64 = 600) async throws {
        let request = Etcdserverpb_LeaseGrantRequest.with {
            $0.id = id
            $0.ttl = seconds
        }
        _ = try await call("/etcdserverpb.Lease/LeaseGrant", request, Etcdserverpb_LeaseGrantResponse.self)
    }

    func timeToLive(_ id: Int64) async throws -> Etcdserverpb_LeaseTimeToLiveResponse {
        let request = Etcdserverpb_LeaseTimeToLiveRequest.with { $0.id = id }
        return try await call(
            "/etcdserverpb.Lease/LeaseTimeToLive", request, Etcdserverpb_LeaseTimeToLiveResponse.self)
    }

    func beginLock(_ name: String, lease: Int64) async throws -> CallInFlight {
        let request = V3lockpb_LockRequest.with {
            $0.name = Data(name.utf8)
            $0.lease = lease
        }
        return try await begin("/v3lockpb.Lock/Lock", request)
    }

    func lock(_ name: String, lease: Int64) async throws -> V3lockpb_LockResponse {
        try await beginLock(name, lease: lease).response(V3lockpb_LockResponse.self)
    }

    func unlock(_ key: Data) async throws {
        let request = V3lockpb_UnlockRequest.with { $0.key = key }
        _ = try await call("/v3lockpb.Lock/Unlock", request, V3lockpb_UnlockResponse.self)
    }

    func beginCampaign(_ name: String, lease: Int64, value: String) async throws -> CallInFlight {
        let request = V3electionpb_CampaignRequest.with {
            $0.name = Data(name.utf8)
            $0.lease = lease
            $0.value = Data(value.utf8)
        }
        return try await begin("/v3electionpb.Election/Campaign", request)
    }

    func alarm(
        _ action: Etcdserverpb_AlarmRequest.AlarmAction, member: UInt64 = 0
    ) async throws -> [Etcdserverpb_AlarmMember] {
        let request = Etcdserverpb_AlarmRequest.with {
            $0.action = action
            $0.memberID = member
            $0.alarm = action == .get ? .none : .nospace
        }
        return try await call("/etcdserverpb.Maintenance/Alarm", request, Etcdserverpb_AlarmResponse.self).alarms
    }

    /// Returns when everything that earlier calls of this connection set going in the log is done: an entry, what its
    /// answer made the server propose, and what that answer did. Answers reach a connection in the log's order.
    func settle() async throws {
        for _ in 0..<4 { try await put("settle") }
    }
}

/// The end of the range of keys that begin with `prefix`, whose last byte is not 0xff.
func prefixEnd(_ prefix: String) -> [UInt8] {
    var end = Array(prefix.utf8)
    if let last = end.popLast() { end.append(last + 1) }
    return end
}
