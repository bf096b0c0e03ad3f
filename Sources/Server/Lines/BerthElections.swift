import EtcdAPI
import FoundationEssentials
import GRPCTransport
import NIOCore
import StateMachine
import Store
import SwiftProtobuf
import Vocabulary

/// `berth.v1.Elections`: the same lines as locks; who holds leads, and the value of its key is its proposal.
struct BerthElections: Sendable {
    let context: ServerContext

    func register(in table: inout ServiceTable) {
        table.unary("/berth.v1.Elections/Campaign") { campaign($0, $1) }
        table.unary("/berth.v1.Elections/Proclaim") { proclaim($0, $1) }
        table.unary("/berth.v1.Elections/Leader") { leader($0, $1) }
        table.unary("/berth.v1.Elections/Resign") { resign($0, $1) }
        table.streaming("/berth.v1.Elections/Observe") { observe($0) }
    }

    private func campaign(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(Berth_V1_CampaignRequest.self, request, call) else { return }
        let name = [UInt8](decoded.name)
        let patience = decoded.hasWaitMilliseconds ? decoded.waitMilliseconds : nil
        let caller: Caller?
        do throws(EtcdError) {
            try checkName(name)
            caller = try context.access.caller(of: call)
            try RequestCheck.checkPlace(timeToLive: decoded.ttl, lease: LeaseID(decoded.lease), wait: patience)
            try Array(decoded.owner.utf8).withRawBytes { owner throws(EtcdError) in try RequestCheck.checkOwner(owner) }
        } catch {
            return call.fail(error)
        }
        let lease = decoded.lease == 0 ? context.freshLeaseID() : LeaseID(decoded.lease)
        let payload = AcquireView.encoded(
            name: name, timeToLive: decoded.ttl, lease: lease, waitMilliseconds: patience,
            owner: Array(decoded.owner.utf8), at: ServerContext.wallClock(), origin: .election,
            value: [UInt8](decoded.value))
        let wait = PlaceWait(call: call, origin: .election, for: caller, context: context)
        wait.start(payload, patience: TimeAmount(patience: patience)) { outcome in
            switch outcome {
            case .holds(let place, let revision): elected(call, decoded, place, revision, wait.waited, caller)
            case .late(let place):
                context.holder(of: name, place) { result in
                    var response = Berth_V1_CampaignResponse()
                    response.waitedMilliseconds = wait.waited.milliseconds
                    response.ahead = Int64(place.ahead)
                    switch result {
                    case .success(let found):
                        response.header = context.header(revision: found.revision)
                        if let holder = found.holder, context.access.mayShow(call, QueueKey.line(name)) {
                            response.holder = holder
                        }
                        call.respond(response)
                    case .failure(let error): call.fail(error)
                    }
                }
            case .failed(let error): call.fail(error)
            }
        }
    }

    /// A place found again may carry another value: the new one is proclaimed before the caller is told.
    private func elected(
        _ call: ServerCall, _ request: Berth_V1_CampaignRequest, _ place: EnteredPlace, _ revision: Revision,
        _ waited: Duration, _ caller: Caller?
    ) {
        var response = Berth_V1_CampaignResponse()
        response.header = context.header(revision: revision)
        response.elected = true
        response.leader = Berth_V1_Handle(place, name: [UInt8](request.name))
        response.waitedMilliseconds = waited.milliseconds
        response.ahead = Int64(place.ahead)
        guard let earlier = place.earlierValue, earlier != [UInt8](request.value) else { return call.respond(response) }
        put([UInt8](request.value), response.leader, for: caller?.author) { result in
            switch result {
            case .success: call.respond(response)
            case .failure(let error): call.fail(error)
            }
        }
    }

    private func proclaim(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(Berth_V1_ProclaimRequest.self, request, call) else { return }
        guard decoded.hasLeader, !decoded.leader.key.isEmpty else {
            return call.fail(EtcdError.invalidLockRequest("leader is not provided"))
        }
        let caller: Caller?
        do throws(EtcdError) { caller = try context.access.caller(of: call) } catch { return call.fail(error) }
        put([UInt8](decoded.value), decoded.leader, for: caller?.author) { result in
            switch result {
            case .success(let header):
                var response = Berth_V1_ProclaimResponse()
                response.header = header
                call.respond(response)
            case .failure(let error): call.fail(error)
            }
        }
    }

    /// Changes the value of a leader's key, if it still leads.
    private func put(
        _ value: [UInt8], _ leader: Berth_V1_Handle, for author: Author?,
        _ completion: @escaping (Result<Etcdserverpb_ResponseHeader, EtcdError>) -> Void
    ) {
        var put = Etcdserverpb_PutRequest()
        put.key = leader.key
        put.value = Data(value)
        put.ignoreLease = true
        context.proposeFenced(
            key: [UInt8](leader.key), createRevision: Revision(leader.token), .with { $0.requestPut = put }, for: author
        ) { result in
            completion(result.flatMap { $0.succeeded ? .success($0.header) : .failure(.placeLost) })
        }
    }

    private func leader(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(Berth_V1_LeaderRequest.self, request, call) else { return }
        let name = [UInt8](decoded.name)
        let caller: Caller?
        do throws(EtcdError) {
            try checkName(name)
            caller = try context.access.permit(call, .read, QueueKey.line(name))
        } catch {
            return call.fail(error)
        }
        context.ask {
            $0.report(line: name, limit: 1)
        } _: { result in
            do throws(EtcdError) {
                let report = try result.get()
                var response = Berth_V1_LeaderResponse()
                response.header = context.header(revision: report.revision)
                if let first = report.places.first {
                    response.leader = try context.place(first)
                    response.leader.value = Data(
                        try context.value(of: first.record.key, at: report.revision) ?? [])
                }
                try context.access.confirm(caller)
                call.respond(response)
            } catch {
                call.fail(error)
            }
        }
    }

    private func observe(_ call: ServerCall) {
        var name = Data()
        LeadershipStream(call: call, context: context) { message in
            let request = try Berth_V1_ElectionObserveRequest(serializedBytes: message)
            name = request.name
            try checkName([UInt8](request.name))
            let caller = try context.access.permit(call, .read, QueueKey.line([UInt8](request.name)))
            guard request.startRevision >= 0 else {
                throw EtcdError.invalidLockRequest("start_revision is \(request.startRevision); expected 0 or more")
            }
            return ([UInt8](request.name), Revision(request.startRevision), caller)
        } answer: { (leader, revision) throws(EtcdError) in
            var response = Berth_V1_ElectionObserveResponse()
            response.header = context.header(revision: revision)
            response.revision = revision.value
            if let leader {
                response.leader.name = name
                response.leader.key = Data(leader.key)
                response.leader.token = leader.token.value
                response.leader.lease = leader.lease.value
                response.leader.ttl = context.leaseTable.timeToLive(leader.lease) ?? 0
                response.owner = leader.owner
                response.value = Data(try context.value(of: leader.key, at: revision) ?? [])
            }
            return try EtcdError.encoding { try response.serializedBytes() }
        }.start()
    }

    private func resign(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(Berth_V1_ResignRequest.self, request, call) else { return }
        guard decoded.hasLeader, !decoded.leader.key.isEmpty else {
            return call.fail(EtcdError.invalidLockRequest("leader is not provided"))
        }
        let caller: Caller?
        do throws(EtcdError) {
            caller = try context.access.caller(of: call)
            try caller?.permit(.write, KeyRange(key: [UInt8](decoded.leader.key), end: []))
        } catch {
            return call.fail(error)
        }
        context.release(
            key: [UInt8](decoded.leader.key), token: Revision(decoded.leader.token), for: caller?.author
        ) { result in
            switch result {
            case .success(let released):
                var response = Berth_V1_ResignResponse()
                switch released {
                case .now: response.resigned = true
                case .before: response.resigned = false
                }
                response.header = context.header
                call.respond(response)
            case .failure(let error): call.fail(error)
            }
        }
    }

    private func checkName(_ name: [UInt8]) throws(EtcdError) {
        try name.withRawBytes { name throws(EtcdError) in try RequestCheck.checkName(name) }
    }
}
