import EtcdAPI
import GRPCTransport
import StateMachine
import SwiftProtobuf
import Vocabulary

/// One LeaseKeepAlive stream: an answer a request, in order.
///
/// Isolation: the event loop of its call.
final class KeepAliveStream: OpenEndedCall {
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
        call.onRoom = { self.call.isReadingPaused = false }
        call.onCancel = { _ in self.release() }
    }

    private func release() {
        loop.untrack(self)
        call.onMessage = nil
        call.onHalfClose = nil
        call.onRoom = nil
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
        switch context.keeper.renew(id) {
        case .renewed(let seconds):
            response.ttl = seconds
            waiting.append(response)
            flush()
        case .unknown:
            waiting.append(response)
            flush()
        case .expired: awaitRevoke(of: id, response)
        }
        // A client that does not read its answers gets no further requests taken.
        if !call.hasRoom { call.isReadingPaused = true }
    }

    /// Past its time but not yet revoked: told so only once its keys are gone.
    private func awaitRevoke(of id: LeaseID, _ response: Etcdserverpb_LeaseKeepAliveResponse) {
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
