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
        table.streaming("/v3electionpb.Election/Observe") { observe($0) }
    }

    // MARK: - Campaign

    private func campaign(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(V3electionpb_CampaignRequest.self, request, call) else { return }
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
                at: ServerContext.wallClock(), origin: .etcd, value: [UInt8](decoded.value))
            let campaign = Campaign(call: call, request: decoded)
            wait.start(request, patience: nil) { place in
                // In line already with another value: the new one is proclaimed, before waiting on.
                guard let earlier = place.earlierValue, earlier != [UInt8](decoded.value) else { return }
                campaign.isProclaimed = false
                update(campaign.leaderKey(place), value: [UInt8](decoded.value), for: caller?.author) { result in
                    campaign.isProclaimed = true
                    switch result {
                    case .success: if let elected = campaign.elected { answer(campaign, elected) }
                    case .failure(let error):
                        wait.abandon()
                        end(call, error)
                    }
                }
            } _: { outcome in
                switch outcome {
                case .holds(let place, _):
                    campaign.elected = place
                    if campaign.isProclaimed { answer(campaign, place) }
                case .late, .failed(.leaseEndedWhileWaiting), .failed(.placeRemoved): end(call, .electionNotLeader)
                case .failed(let error): end(call, error)
                }
            }
        }
    }

    /// One Campaign call: it is answered when its place leads and its value stands.
    private final class Campaign {
        let call: ServerCall
        let request: V3electionpb_CampaignRequest
        var isProclaimed = true
        var elected: EnteredPlace?

        init(call: ServerCall, request: V3electionpb_CampaignRequest) {
            self.call = call
            self.request = request
        }

        func leaderKey(_ place: EnteredPlace) -> V3electionpb_LeaderKey {
            var key = V3electionpb_LeaderKey()
            key.name = request.name
            key.key = Data(place.key)
            key.rev = place.token.value
            key.lease = place.lease.value
            return key
        }
    }

    private func answer(_ campaign: Campaign, _ place: EnteredPlace) {
        var response = V3electionpb_CampaignResponse()
        response.header = context.header(revision: place.revision)
        response.leader = campaign.leaderKey(place)
        campaign.call.respond(response)
    }

    private func end(_ call: ServerCall, _ error: EtcdError) {
        call.fail(error.asUnknown)
    }

    // MARK: - As a leader

    private func proclaim(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(V3electionpb_ProclaimRequest.self, request, call) else { return }
        guard decoded.hasLeader else { return call.fail(EtcdError.electionLeaderMissing) }
        let caller: Caller?
        do throws(EtcdError) { caller = try context.access.caller(of: call) } catch {
            return call.fail(error.asUnknown)
        }
        update(decoded.leader, value: [UInt8](decoded.value), for: caller?.author) { result in
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
        _ leader: V3electionpb_LeaderKey, value: [UInt8], for author: Author?,
        _ completion: @escaping (Result<Etcdserverpb_ResponseHeader, EtcdError>) -> Void
    ) {
        var put = Etcdserverpb_PutRequest()
        put.key = leader.key
        put.value = Data(value)
        put.lease = leader.lease
        fenced(by: leader, .with { $0.requestPut = put }, for: author) { result in
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
        let caller: Caller?
        do throws(EtcdError) { caller = try context.access.caller(of: call) } catch {
            return call.fail(error.asUnknown)
        }
        fenced(by: decoded.leader, .with { $0.requestDeleteRange = delete }, for: caller?.author) { result in
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
        by leader: V3electionpb_LeaderKey, _ operation: Etcdserverpb_RequestOp, for author: Author?,
        _ completion: @escaping (Result<Etcdserverpb_TxnResponse, EtcdError>) -> Void
    ) {
        context.proposeFenced(
            key: [UInt8](leader.key), createRevision: Revision(leader.rev), operation, for: author, completion)
    }

    // MARK: - As an onlooker

    private func leader(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(V3electionpb_LeaderRequest.self, request, call) else { return }
        let name = [UInt8](decoded.name)
        let caller: Caller?
        do throws(EtcdError) {
            caller = try context.access.permit(call, .read, QueueKey.line(name))
        } catch {
            return call.fail(error.asUnknown)
        }
        context.ask {
            $0.report(line: name, limit: 1)
        } _: { result in
            do throws(EtcdError) {
                let report = try result.get()
                guard let first = report.places.first else { throw EtcdError.electionNoLeader }
                let answer = try response(LeaderAt(first.record), since: report.revision)
                try context.access.confirm(caller)
                call.respond(answer)
            } catch {
                call.fail(error.asUnknown)
            }
        }
    }

    /// The leader there is, then every new value of it, then the next leader; nothing is said while nobody leads.
    private func observe(_ call: ServerCall) {
        LeadershipStream(call: call, context: context) { message in
            let name = [UInt8](try V3electionpb_LeaderRequest(serializedBytes: message).name)
            do throws(EtcdError) {
                return (name, .zero, try context.access.permit(call, .read, QueueKey.line(name)))
            } catch {
                throw error.asUnknown
            }
        } answer: { (leader, revision) throws(EtcdError) in
            guard let leader else { return nil }
            let response = try response(leader, since: revision)
            return try EtcdError.encoding { try response.serializedBytes() }
        }.start()
    }

    /// What Leader and Observe answer.
    private func response(
        _ leader: LeaderAt, since revision: Revision
    ) throws(EtcdError) -> V3electionpb_LeaderResponse {
        var response = V3electionpb_LeaderResponse()
        response.header = context.header(revision: revision)
        response.kv = try context.store.readingEtcdErrors { snapshot in
            let record = try leader.key.withUnsafeBytes { try snapshot.record(of: $0, at: revision) }
            guard let record else { throw EtcdError.electionNoLeader }
            return try Mvccpb_KeyValue(serializedBytes: [UInt8](try snapshot.keyValue(of: record)))
        }
        return response
    }
}
