import EtcdAPI
import GRPCTransport
import Measures
import NIOCore
import ReplicatedLog
import StateMachine
import Store
import SwiftProtobuf
import Vocabulary

/// `etcdserverpb.Maintenance`: status, alarms, hashes, defragmentation and etcd's snapshot.
struct MaintenanceService: Sendable {
    /// What clients are told they talk to. They read major.minor.patch and choose features by it; Kubernetes, for one,
    /// uses progress requests from 3.5.13 on. Berth follows 3.5's rules, so it names a 3.5.
    static let etcdVersion = "3.5.33"

    let context: ServerContext

    func register(in table: inout ServiceTable) {
        table.unary("/etcdserverpb.Maintenance/Status") { call, _ in status(call) }
        table.unary("/etcdserverpb.Maintenance/Alarm") { alarm($0, $1) }
        table.unary("/etcdserverpb.Maintenance/Hash") { call, _ in
            context.answer(call) { context throws(EtcdError) in
                var response = Etcdserverpb_HashResponse()
                let began = MonotonicClock.nanoseconds
                let (hash, revision) = try EtcdError.reading { try context.store.hash() }
                context.metrics.hashes.observe(MonotonicClock.nanoseconds - began)
                response.hash = hash
                response.header = context.header(revision: revision)
                return try EtcdError.encoding { try response.serializedBytes() }
            }
        }
        table.unary("/etcdserverpb.Maintenance/HashKV") { hashKV($0, $1) }
        table.unary("/etcdserverpb.Maintenance/Defragment") { call, _ in defragment(call) }
        table.unary("/etcdserverpb.Maintenance/MoveLeader") { moveLeader($0, $1) }
        table.unary("/etcdserverpb.Maintenance/Downgrade") { downgrade($0, $1) }
        table.streaming("/etcdserverpb.Maintenance/Snapshot") { call in
            SnapshotStream(call: call, context: context, form: .etcd).start()
        }
    }

    private func status(_ call: ServerCall) {
        let status = context.log.status
        let size = context.store.size()
        var response = Etcdserverpb_StatusResponse()
        response.header = context.header
        response.version = Self.etcdVersion
        // etcdctl 3.6 divides by it.
        response.dbSize = Int64(max(1, size.allocatedBytes))
        response.dbSizeInUse = Int64(size.inUseBytes)
        response.leader = status.isLeader ? context.identity.memberID : 0
        response.raftIndex = status.commitIndex.value
        response.raftAppliedIndex = status.appliedIndex.value
        response.raftTerm = status.term.value
        if !status.isLeader { response.errors = [EtcdError.noLeader.message] }
        response.errors += context.alarms.list().map { "memberID:\($0.memberID) alarm:\($0.kind.etcdName)" }
        call.respond(response)
    }

    private func alarm(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        do {
            let view = try RequestCheck.alarm(request)
            guard view.action == .get else {
                try context.access.permitRoot(call)
                return context.propose(.alarm, request, answering: call)
            }
            _ = try context.access.caller(of: call)
            // etcd asks its log: health checks rely on hearing of a log that takes nothing.
            guard context.log.status.isLeader else { return call.fail(.noLeader) }
            var response = Etcdserverpb_AlarmResponse()
            response.header = context.header
            response.alarms = context.alarms.list().filter { view.alarm == 0 || $0.kind.rawValue == view.alarm }
                .map { alarm in
                    .with {
                        $0.memberID = alarm.memberID
                        $0.alarm = alarm.kind == .noSpace ? .nospace : .corrupt
                    }
                }
            call.respond(response)
        } catch {
            call.fail(error)
        }
    }

    /// Answers when it is done; what it gave back is in the log and in Status.
    private func defragment(_ call: ServerCall) {
        let loop = ServerLoop.here
        let answer = PendingProposal(on: loop) { call.answer($0) }
        context.store.defragment { result in
            let outcome: ApplyResult
            switch result {
            // etcd's answer is empty too.
            case .success: outcome = .response([])
            case .failure(.closed): outcome = .failure(.stopped)
            case .failure(let error):
                outcome = .failure(.internalError("the store could not be defragmented: \(error)"))
            }
            loop.eventLoop.execute { answer.complete(outcome) }
        }
    }

    /// The one member leads already, and nobody else can. The answer has no header, as etcd's.
    private func moveLeader(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(Etcdserverpb_MoveLeaderRequest.self, request, call) else { return }
        guard context.log.status.isLeader else { return call.fail(.notLeader) }
        guard decoded.targetID == context.identity.memberID else { return call.fail(.badTransferee) }
        call.respond([])
    }

    private func downgrade(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(Etcdserverpb_DowngradeRequest.self, request, call) else { return }
        do {
            var response = Etcdserverpb_DowngradeResponse()
            response.version = try Downgrade.answer(decoded.action, target: decoded.version)
            response.header = context.header
            call.respond(response)
        } catch {
            call.fail(error)
        }
    }

    private func hashKV(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(Etcdserverpb_HashKVRequest.self, request, call) else { return }
        context.answer(call) { context throws(EtcdError) in
            var response = Etcdserverpb_HashKVResponse()
            let began = MonotonicClock.nanoseconds
            let walked = try EtcdError.reading {
                let asked = decoded.revision
                return try context.store.hashKV(at: asked == 0 ? context.store.publishedRevision : Revision(asked))
            }
            context.metrics.revisionHashes.observe(MonotonicClock.nanoseconds - began)
            response.hash = walked.hash
            response.header = context.header(revision: walked.current)
            // etcd says -1 for a store that was never compacted, and 0 for one compacted to revision 0.
            response.compactRevision = walked.compacted.value
            if walked.compacted == .zero,
                try !context.store.readingEtcdErrors({ try $0.wasCompactedToZero() })
            {
                response.compactRevision = -1
            }
            return try EtcdError.encoding { try response.serializedBytes() }
        }
    }
}

extension AlarmSet.Kind {
    /// The alarm's name in etcd's texts.
    var etcdName: String {
        switch self {
        case .noSpace: "NOSPACE"
        case .corrupt: "CORRUPT"
        }
    }
}

extension EtcdError {
    /// Encodes, with a failure turned into what a client is told.
    static func encoding(_ body: () throws -> [UInt8]) throws(EtcdError) -> [UInt8] {
        do {
            return try body()
        } catch {
            throw .internalError("the answer could not be encoded: \(error)")
        }
    }
}
