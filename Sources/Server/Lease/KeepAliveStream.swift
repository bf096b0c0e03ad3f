import EtcdAPI
import GRPCTransport
import Measures
import StateMachine
import SwiftProtobuf
import Vocabulary

/// One LeaseKeepAlive stream: an answer a request, in order.
///
/// Isolation: the event loop of its call.
final class KeepAliveStream: OpenStream {
    private let context: ServerContext
    /// Answers not yet sent because an earlier one waits for a revoke to be applied; bounded by `maximumWaiting`.
    private var waiting: [Etcdserverpb_LeaseKeepAliveResponse?] = []
    private var firstTicket = 0
    private var isHalfClosed = false
    private static let maximumWaiting = 10_000

    init(call: ServerCall, context: ServerContext) {
        self.context = context
        super.init(call: call)
    }

    override func requestsEnded() {
        isHalfClosed = true
        flush()
    }

    override func roomIsFree() { call.isReadingPaused = false }

    override func receive(_ message: [UInt8]) {
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
        do throws(EtcdError) {
            let caller = try context.access.caller(of: call)
            try caller?.state.permit(caller?.author, writingKeysOf: id, context.leaseTable)
        } catch {
            return end(GRPCStatus(error))
        }
        switch context.keeper.renew(id) {
        case .renewed(let seconds):
            context.metrics.leaseRenewals.add()
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
        context.propose(.leaseExpire, LeaseExpiryView.encoded(id: id, at: ServerContext.wallClock())) { _ in
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
