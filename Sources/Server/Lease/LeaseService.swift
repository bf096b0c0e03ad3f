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
        table.streaming("/etcdserverpb.Lease/LeaseKeepAlive") { KeepAliveStream(call: $0, context: context).start() }
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
            _ = try RequestCheck.leaseRevoke(request, alarms: context.alarms)
            context.propose(.leaseRevoke, request, answering: call)
        } catch {
            call.fail(error)
        }
    }

    private func timeToLive(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(Etcdserverpb_LeaseTimeToLiveRequest.self, request, call) else { return }
        let id = LeaseID(decoded.id)
        var response = Etcdserverpb_LeaseTimeToLiveResponse()
        response.header = context.header
        response.id = decoded.id
        if let granted = context.leaseTable.timeToLive(id) {
            response.grantedTtl = granted
            // Granted a moment ago and not yet on the clock: nothing of it has passed.
            response.ttl = context.keeper.remainingSeconds(id, now: LeaseKeeper.now()) ?? granted
            if decoded.keys { response.keys = context.leaseTable.keys(of: id).map { Data($0) } }
        } else {
            response.ttl = -1
        }
        call.respond(response)
    }

    private func leases(_ call: ServerCall) {
        var response = Etcdserverpb_LeaseLeasesResponse()
        response.header = context.header
        response.leases = context.keeper.byExpiry().map { id in
            var status = Etcdserverpb_LeaseStatus()
            status.id = id.value
            return status
        }
        call.respond(response)
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

/// One LeaseKeepAlive stream: an answer a request, in order.
///
/// Isolation: the event loop of its call.
private final class KeepAliveStream: OpenEndedCall {
    private let call: ServerCall
    private let loop: ServerLoop
    private let context: ServerContext
    /// Answers not yet sent because an earlier one waits for a revoke to be applied; bounded by `maximumWaiting`.
    private var waiting: [Etcdserverpb_LeaseKeepAliveResponse?] = []
    private var firstTicket = 0
    private var isHalfClosed = false
    private static let maximumWaiting = 10_000

    init(call: ServerCall, context: ServerContext) {
        self.call = call
        self.context = context
        loop = .here
    }

    func start() {
        loop.track(self)
        call.onMessage = { self.receive($0) }
        call.onHalfClose = {
            self.isHalfClosed = true
            self.flush()
        }
        call.onCancel = { _ in self.release() }
    }

    private func release() {
        loop.untrack(self)
        call.onMessage = nil
        call.onHalfClose = nil
        call.onCancel = nil
    }

    func end(_ status: GRPCStatus) {
        release()
        call.finish(status)
    }

    private func receive(_ message: [UInt8]) {
        let request: Etcdserverpb_LeaseKeepAliveRequest
        do {
            request = try Etcdserverpb_LeaseKeepAliveRequest(serializedBytes: message)
        } catch {
            return end(GRPCStatus(EtcdError.malformed(error)))
        }
        guard waiting.count < Self.maximumWaiting else { return end(GRPCStatus(.tooManyRequests)) }
        var response = Etcdserverpb_LeaseKeepAliveResponse()
        response.header = context.header
        response.id = request.id
        let id = LeaseID(request.id)
        if let seconds = context.keeper.renew(id, now: LeaseKeeper.now()) {
            response.ttl = seconds
            waiting.append(response)
            return flush()
        }
        guard context.leaseTable.exists(id) else {
            waiting.append(response)
            return flush()
        }
        // Past its time but not yet revoked: told so only once its keys are gone.
        let ticket = firstTicket + waiting.count
        waiting.append(nil)
        context.propose(.leaseRevoke, LeaseIDRequestView(id: id).encoded()) { _ in
            guard self.call.isActive else { return }
            self.waiting[ticket - self.firstTicket] = response
            self.flush()
        }
    }

    private func flush() {
        guard call.isActive else { return }
        var sent = 0
        for case let response? in waiting.prefix(while: { $0 != nil }) {
            call.send(response)
            sent += 1
        }
        waiting.removeFirst(sent)
        firstTicket += sent
        if isHalfClosed, waiting.isEmpty { end(.ok) }
    }
}
