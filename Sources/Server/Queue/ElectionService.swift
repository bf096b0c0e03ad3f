import EtcdAPI
import FoundationEssentials
import GRPCTransport
import StateMachine
import Store
import SwiftProtobuf
import Vocabulary

/// `v3electionpb.Election`: the same line as a lock's; its head leads, its head's value is the proposal.
struct ElectionService: Sendable {
    let context: ServerContext

    func register(in table: inout ServiceTable) {
        table.unary("/v3electionpb.Election/Campaign") { campaign($0, $1) }
        table.unary("/v3electionpb.Election/Proclaim") { proclaim($0, $1) }
        table.unary("/v3electionpb.Election/Leader") { leader($0, $1) }
        table.unary("/v3electionpb.Election/Resign") { resign($0, $1) }
        table.streaming("/v3electionpb.Election/Observe") { LeaderStream(call: $0, context: context).start() }
    }

    // MARK: - Campaign

    private func campaign(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(V3electionpb_CampaignRequest.self, request, call) else { return }
        context.withSessionLease(decoded.lease, call) { lease in
            let wait = QueueWait(queue: LeaseQueue(name: [UInt8](decoded.name)), call: call, context: context)
            wait.enter(lease: lease, value: [UInt8](decoded.value)) { result in
                switch result {
                case .failure(let error): end(call, error)
                case .success(let entered): campaignEntered(call, decoded, lease, wait, entered)
                }
            }
        }
    }

    private func campaignEntered(
        _ call: ServerCall, _ request: V3electionpb_CampaignRequest, _ lease: Int64, _ wait: QueueWait,
        _ entered: QueueWait.Entered
    ) {
        var key = V3electionpb_LeaderKey()
        key.name = request.name
        key.key = Data(entered.key)
        key.rev = entered.createRevision.value
        key.lease = lease
        let waitForTurn = {
            wait.waitForTurn { result in
                switch result {
                case .failure(let error): end(call, error)
                case .success:
                    var response = V3electionpb_CampaignResponse()
                    response.header = entered.header
                    response.leader = key
                    call.respond(response)
                }
            }
        }
        // In line already with another value: the new one is proclaimed before waiting on.
        guard let earlier = entered.earlierValue, earlier != [UInt8](request.value) else { return waitForTurn() }
        update(key, value: [UInt8](request.value)) { result in
            switch result {
            case .success: waitForTurn()
            case .failure(let error):
                wait.abandon()
                end(call, error)
            }
        }
    }

    private func end(_ call: ServerCall, _ error: EtcdError) {
        call.fail(error.asUnknown)
    }

    // MARK: - As a leader

    private func proclaim(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(V3electionpb_ProclaimRequest.self, request, call) else { return }
        guard decoded.hasLeader else { return call.fail(EtcdError.electionLeaderMissing) }
        update(decoded.leader, value: [UInt8](decoded.value)) { result in
            switch result {
            case .success(let header):
                var response = V3electionpb_ProclaimResponse()
                response.header = header
                call.respond(response)
            case .failure(let error): call.fail(error.asUnknown)
            }
        }
    }

    /// Puts a new value if the key is still the one that was entered.
    private func update(
        _ leader: V3electionpb_LeaderKey, value: [UInt8],
        _ completion: @escaping (Result<Etcdserverpb_ResponseHeader, EtcdError>) -> Void
    ) {
        var put = Etcdserverpb_PutRequest()
        put.key = leader.key
        put.value = Data(value)
        put.lease = leader.lease
        fenced(by: leader, .with { $0.requestPut = put }) { result in
            completion(
                result.flatMap { response in
                    response.succeeded ? .success(response.header) : .failure(.electionNotLeader)
                })
        }
    }

    private func resign(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(V3electionpb_ResignRequest.self, request, call) else { return }
        guard decoded.hasLeader else { return call.fail(EtcdError.electionLeaderMissing) }
        var delete = Etcdserverpb_DeleteRangeRequest()
        delete.key = decoded.leader.key
        fenced(by: decoded.leader, .with { $0.requestDeleteRange = delete }) { result in
            switch result {
            case .success(let txn):
                var response = V3electionpb_ResignResponse()
                response.header = txn.header
                call.respond(response)
            case .failure(let error): call.fail(error.asUnknown)
            }
        }
    }

    private func fenced(
        by leader: V3electionpb_LeaderKey, _ operation: Etcdserverpb_RequestOp,
        _ completion: @escaping (Result<Etcdserverpb_TxnResponse, EtcdError>) -> Void
    ) {
        context.proposeFenced(
            key: [UInt8](leader.key), createRevision: Revision(leader.rev), operation, completion)
    }

    // MARK: - As an onlooker

    private func leader(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(V3electionpb_LeaderRequest.self, request, call) else { return }
        let queue = LeaseQueue(name: [UInt8](decoded.name))
        let context = context
        context.read(queue.range) {
            (try queue.head(in: $0), $0.revision)
        } completion: { result in
            do throws(EtcdError) {
                let (head, revision) = try result.get()
                guard let head else { throw EtcdError.electionNoLeader }
                call.respond(try context.leaderResponse(head.keyValue, revision))
            } catch {
                call.fail(error.asUnknown)
            }
        }
    }
}

extension ServerContext {
    /// What Leader and Observe answer.
    func leaderResponse(
        _ keyValue: [UInt8], _ revision: Revision
    ) throws(EtcdError) -> V3electionpb_LeaderResponse {
        do {
            var response = V3electionpb_LeaderResponse()
            response.header = header(revision: revision)
            response.kv = try Mvccpb_KeyValue(serializedBytes: keyValue)
            return response
        } catch {
            throw .internalError("a stored value does not decode: \(error)")
        }
    }
}
