import EtcdAPI
import FoundationEssentials
import GRPCTransport
import StateMachine
import SwiftProtobuf
import Vocabulary

/// One `berth.v1.Elections/Observe` stream: every leader and every value in order, none left out.
///
/// Isolation: the event loop of its call.
final class LeadershipStream: OpenStream {
    private let context: ServerContext
    private var hasRequest = false
    private var follower: LineFollower?

    init(call: ServerCall, context: ServerContext) {
        self.context = context
        super.init(call: call)
    }

    override func requestsEnded() {
        if !hasRequest { end(.missingRequest) }
    }

    override func roomIsFree() { follower?.resume() }

    override func closed() {
        follower?.end()
        follower = nil
    }

    override func receive(_ message: [UInt8]) {
        guard !hasRequest else { return }
        hasRequest = true
        do {
            let request = try Berth_V1_ElectionObserveRequest(serializedBytes: message)
            let name = [UInt8](request.name)
            try name.withUnsafeBytes { try RequestCheck.checkName($0) }
            guard request.startRevision >= 0 else {
                throw EtcdError.invalidLockRequest("start_revision is \(request.startRevision); expected 0 or more")
            }
            if request.startRevision > 0 { follow(name, from: Revision(request.startRevision)) } else { begin(name) }
        } catch let error as EtcdError {
            end(GRPCStatus(error))
        } catch {
            end(GRPCStatus(EtcdError.malformed(error)))
        }
    }

    /// From now on: the leader there is, then what follows.
    private func begin(_ name: [UInt8]) {
        context.ask {
            $0.report(line: name, limit: 1)
        } _: { result in
            guard self.isOpen else { return }
            switch result {
            case .success(let report):
                if let first = report.places.first {
                    self.send(
                        name, first.record.key, first.record.token, first.record.lease, owner: first.record.terms.owner,
                        at: report.revision)
                } else {
                    self.sendNobody(at: report.revision)
                }
                self.follow(name, from: report.revision.next)
            case .failure(let error): self.end(GRPCStatus(error))
            }
        }
    }

    private func follow(_ name: [UInt8], from revision: Revision) {
        guard isOpen else { return }
        let follower = LineFollower(
            from: revision, context: context, wants: { $0.name == name && $0.held },
            hasRoom: { self.call.hasRoom },
            emit: { self.tell($0, $1) },
            onError: { self.end(GRPCStatus($0)) })
        self.follower = follower
        follower.start()
    }

    /// All that changed at one revision for those who hold: the last one to hold leads.
    private func tell(_ revision: Revision, _ events: [LineEvent]) {
        guard let last = events.last(where: { $0.kind == .acquired || $0.kind == .proclaimed }) else {
            return sendNobody(at: revision)
        }
        let event: Berth_V1_Event
        do {
            event = try Berth_V1_Event(serializedBytes: last.encoded)
        } catch {
            return end(GRPCStatus(EtcdError.internalError("a stored event does not decode: \(error)")))
        }
        send(last.name, last.key, last.token, LeaseID(event.lease), owner: Array(event.owner.utf8), at: revision)
    }

    private func sendNobody(at revision: Revision) {
        var response = Berth_V1_ElectionObserveResponse()
        response.header = context.header(revision: revision)
        response.revision = revision.value
        call.send(response)
    }

    private func send(
        _ name: [UInt8], _ key: [UInt8], _ token: Revision, _ lease: LeaseID, owner: [UInt8], at revision: Revision
    ) {
        var response = Berth_V1_ElectionObserveResponse()
        response.header = context.header(revision: revision)
        response.revision = revision.value
        response.leader.name = Data(name)
        response.leader.key = Data(key)
        response.leader.token = token.value
        response.leader.lease = lease.value
        response.leader.ttl = context.leaseTable.timeToLive(lease) ?? 0
        response.owner = String(decoding: owner, as: UTF8.self)
        do throws(EtcdError) {
            response.value = Data(try context.value(of: key, at: revision) ?? [])
        } catch {
            return end(GRPCStatus(error))
        }
        call.send(response)
    }
}
