import EtcdAPI
import FoundationEssentials
import GRPCTransport
import StateMachine
import SwiftProtobuf
import Vocabulary

/// `etcdserverpb.Lease`: grants and revokes go through the log; keep-alives and questions are answered from the
/// leader's clock.
struct LeaseService: Sendable {
    let context: ServerContext

    func register(in table: inout ServiceTable) {
        table.unary("/etcdserverpb.Lease/LeaseGrant") { grant($0, $1) }
        table.unary("/etcdserverpb.Lease/LeaseRevoke") { revoke($0, $1) }
        table.unary("/etcdserverpb.Lease/LeaseTimeToLive") { timeToLive($0, $1) }
        table.unary("/etcdserverpb.Lease/LeaseLeases") { call, _ in leases(call) }
        table.streaming("/etcdserverpb.Lease/LeaseKeepAlive", type: .bidirectional) {
            KeepAliveStream(call: $0, context: context).start()
        }
    }

    private func grant(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        do {
            var view = try RequestCheck.leaseGrant(request, alarms: context.alarms)
            try context.quota.admit(RequestCheck.leaseQuotaCost, context)
            if view.id == .none { view.id = context.freshLeaseID() }
            view.encoded().withUnsafeBytes { context.propose(.leaseGrant, $0, answering: call) }
        } catch {
            call.fail(error)
        }
    }

    private func revoke(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        do {
            let view = try RequestCheck.leaseRevoke(request, alarms: context.alarms)
            let caller = try context.access.caller(of: call)
            try caller?.state.permit(caller?.author, writingKeysOf: view.id, context.leaseTable, early: true)
            context.propose(.leaseRevoke, request, for: caller?.author, answering: call)
        } catch {
            call.fail(error)
        }
    }

    private func timeToLive(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(Etcdserverpb_LeaseTimeToLiveRequest.self, request, call) else { return }
        let id = LeaseID(decoded.id)
        let caller: Caller?
        do throws(EtcdError) { caller = try context.access.caller(of: call) } catch { return call.fail(error) }
        var response = Etcdserverpb_LeaseTimeToLiveResponse()
        response.header = context.header
        response.id = decoded.id
        if let granted = context.leaseTable.timeToLive(id) {
            response.grantedTtl = granted
            // Granted a moment ago and not yet on the clock: nothing of it has passed.
            response.ttl = context.keeper.remainingSeconds(id) ?? granted
            if decoded.keys {
                let keys = context.leaseTable.keys(of: id)
                do throws(EtcdError) {
                    try caller?.state.permit(caller?.author, .read, keys: keys)
                    try context.access.confirm(caller)
                } catch {
                    return call.fail(error)
                }
                response.keys = keys.map { Data($0) }
            }
        } else {
            response.ttl = -1
        }
        call.respond(response)
    }

    private func leases(_ call: ServerCall) {
        let caller: Caller?
        do throws(EtcdError) { caller = try context.access.caller(of: call) } catch { return call.fail(error) }
        context.answer(call) { context throws(EtcdError) in
            var response = Etcdserverpb_LeaseLeasesResponse()
            response.header = context.header
            let leases = context.keeper.byExpiry()
            if let caller {
                for id in leases {
                    try caller.state.permit(caller.author, readingKeysOf: id, context.leaseTable)
                }
            }
            try context.access.confirm(caller)
            response.leases = leases.map { id in .with { $0.id = id.value } }
            return try EtcdError.encoding { try response.serializedBytes() }
        }
    }
}

extension ServerContext {
    /// A positive id no lease has, for clients that leave the choice to the server.
    func freshLeaseID() -> LeaseID {
        while true {
            let id = LeaseID(Int64.random(in: 1...Int64.max))
            if !leaseTable.exists(id) { return id }
        }
    }
}
