import EtcdAPI
import FoundationEssentials
import GRPCTransport
import StateMachine
import Store
import Vocabulary

/// `v3lockpb.Lock`: a line of lease-owned keys whose head holds the lock.
struct LockService: Sendable {
    let context: ServerContext

    func register(in table: inout ServiceTable) {
        table.unary("/v3lockpb.Lock/Lock") { lock($0, $1) }
        table.unary("/v3lockpb.Lock/Unlock") { unlock($0, $1) }
    }

    private func lock(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(V3lockpb_LockRequest.self, request, call) else { return }
        let caller: Caller?
        do throws(EtcdError) {
            caller = try context.access.caller(of: call)
            try caller?.permit(.read, QueueKey.line([UInt8](decoded.name)))
        } catch {
            return call.fail(error.asUnknown)
        }
        context.withSessionLease(decoded.lease, call) { lease in
            let wait = PlaceWait(call: call, origin: .etcd, for: caller, context: context)
            let request = AcquireView.encoded(
                name: [UInt8](decoded.name), timeToLive: 0, lease: LeaseID(lease), waitMilliseconds: nil, owner: [],
                at: ServerContext.wallClock(), origin: .etcd, value: [])
            wait.start(request, patience: nil) { end(call, granted($0)) }
        }
    }

    private func granted(_ outcome: PlaceWait.Outcome) -> Result<V3lockpb_LockResponse, EtcdError> {
        switch outcome {
        case .holds(let place, let revision):
            var response = V3lockpb_LockResponse()
            response.header = context.header(revision: revision)
            response.key = Data(place.key)
            return .success(response)
        case .late, .failed(.leaseEndedWhileWaiting), .failed(.placeRemoved): return .failure(.sessionExpired)
        case .failed(let error): return .failure(error)
        }
    }

    private func end(_ call: ServerCall, _ result: Result<V3lockpb_LockResponse, EtcdError>) {
        switch result {
        case .success(let response): call.respond(response)
        case .failure(let error): call.fail(error.asUnknown)
        }
    }

    private func unlock(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(V3lockpb_UnlockRequest.self, request, call) else { return }
        guard !decoded.key.isEmpty else { return call.fail(EtcdError.emptyKey.asUnknown) }
        var delete = Etcdserverpb_DeleteRangeRequest()
        delete.key = decoded.key
        let caller: Caller?
        do throws(EtcdError) {
            caller = try context.access.caller(of: call)
            try caller?.permit(.write, KeyRange(key: [UInt8](decoded.key), end: []))
        } catch {
            return call.fail(error.asUnknown)
        }
        context.propose(
            .deleteRange, delete, expecting: Etcdserverpb_DeleteRangeResponse.self, for: caller?.author
        ) { result in
            switch result {
            case .success(let deleted):
                var response = V3lockpb_UnlockResponse()
                response.header = deleted.header
                call.respond(response)
            case .failure(let error): call.fail(error.asUnknown)
            }
        }
    }
}

extension ServerContext {
    /// Seconds of the lease that the Lock and Election services grant a caller without one. Nobody keeps it alive but
    /// the caller.
    private static let sessionTTL: Int64 = 60

    /// Goes on with the caller's lease, or with a fresh one when it named none.
    func withSessionLease(_ lease: Int64, _ call: ServerCall, _ body: @escaping (Int64) -> Void) {
        guard lease == 0 else { return body(lease) }
        var grant = Etcdserverpb_LeaseGrantRequest()
        grant.id = freshLeaseID().value
        grant.ttl = Self.sessionTTL
        propose(.leaseGrant, grant, expecting: Etcdserverpb_LeaseGrantResponse.self, for: nil) { result in
            guard call.isActive else { return }
            switch result {
            case .success(let response): body(response.id)
            case .failure(let error): call.fail(error.asUnknown)
            }
        }
    }
}
