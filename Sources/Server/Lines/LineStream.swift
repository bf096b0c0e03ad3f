import EtcdAPI
import FoundationEssentials
import GRPCTransport
import StateMachine
import Store
import SwiftProtobuf
import Vocabulary

/// One `berth.v1.Locks/Observe` stream.
///
/// Isolation: the event loop of its call.
final class LineStream: OpenStream {
    private let context: ServerContext
    private var request: Berth_V1_ObserveRequest?
    private var follower: LineFollower?
    /// Places before the one that is observed, as far as events were told.
    private var ahead: Int?

    init(call: ServerCall, context: ServerContext) {
        self.context = context
        super.init(call: call)
    }

    override func requestsEnded() {
        if request == nil { end(.missingRequest) }
    }

    override func roomIsFree() { follower?.resume() }

    override func closed() {
        follower?.end()
        follower = nil
    }

    override func receive(_ message: [UInt8]) {
        guard request == nil else { return }
        do {
            let request = try Berth_V1_ObserveRequest(serializedBytes: message)
            self.request = request
            guard request.prefix || !request.name.isEmpty else {
                throw EtcdError.invalidLockRequest("name is not provided; for all locks ask with prefix")
            }
            let name = [UInt8](request.name)
            try context.access.permit(call, .read, request.prefix ? KeyRange(prefix: name) : QueueKey.line(name))
            guard request.startRevision >= 0 else {
                throw EtcdError.invalidLockRequest("start_revision is \(request.startRevision); expected 0 or more")
            }
            guard request.token != 0 else { return follow(request, from: nil) }
            observePlace(request)
        } catch let error as EtcdError {
            end(GRPCStatus(error))
        } catch {
            end(GRPCStatus(EtcdError.malformed(error)))
        }
    }

    /// An observer of one place is told its moves too, so it must be known where the place stood when the stream began.
    private func observePlace(_ request: Berth_V1_ObserveRequest) {
        let name = [UInt8](request.name)
        let token = Revision(request.token)
        context.ask {
            (ahead: $0.ahead(of: token, in: name), revision: $0.report(line: name, limit: 0).revision)
        } _: { result in
            guard self.isOpen else { return }
            switch result {
            case .success(let now):
                // What began no later than the place tells where it stood when it entered.
                guard request.startRevision > token.value else {
                    if request.startRevision == 0 { self.ahead = now.ahead }
                    return self.follow(request, from: request.startRevision == 0 ? now.revision.next : nil)
                }
                self.context.readOffLoop { snapshot in
                    try Self.ahead(
                        of: token, in: name, at: Revision(request.startRevision), now.ahead, now.revision, snapshot)
                } completion: { result in
                    guard self.isOpen else { return }
                    switch result {
                    case .success(let ahead):
                        self.ahead = ahead
                        self.follow(request, from: nil)
                    case .failure(let error): self.end(GRPCStatus(error))
                    }
                }
            case .failure(let error): self.end(GRPCStatus(error))
            }
        }
    }

    /// Places before one as a stream begins that tells from `start` on: those that are before it now, or were when it
    /// ended, and those that left since. Nil when it had ended before.
    private static func ahead(
        of token: Revision, in name: [UInt8], at start: Revision, _ aheadNow: Int?, _ now: Revision,
        _ snapshot: Snapshot
    ) throws -> Int? {
        var left = 0
        var atLast = aheadNow
        try LineHistory.forEachRevision(from: start, in: snapshot) { revision, events in
            guard revision <= now else { return .stop }
            for event in events where event.name == name && event.kind.isEnd {
                if event.token == token {
                    atLast = event.ahead
                    return .stop
                }
                if event.token < token { left += 1 }
            }
            return .next
        }
        return atLast.map { $0 + left }
    }

    private func follow(_ request: Berth_V1_ObserveRequest, from given: Revision?) {
        let name = [UInt8](request.name)
        let token = request.token == 0 ? nil : Revision(request.token)
        let isPrefix = request.prefix
        let start =
            given ?? (request.startRevision == 0 ? loop.hub.publishedRevision.next : Revision(request.startRevision))
        // The stream begins with where it begins.
        var opening = Berth_V1_ObserveResponse()
        opening.header = context.header(revision: start.previous)
        call.send(opening)
        let follower = LineFollower(
            from: start, context: context,
            wants: { event in
                guard isPrefix ? event.name.starts(with: name) : event.name == name else { return false }
                guard let token else { return true }
                return event.token == token || event.kind.isEnd && event.token < token
            },
            hasRoom: { self.call.hasRoom },
            emit: { self.send($0, $1, token) },
            onError: { self.end(GRPCStatus($0)) })
        self.follower = follower
        follower.start()
    }

    private func send(_ revision: Revision, _ events: [LineEvent], _ token: Revision?) {
        var response = Berth_V1_ObserveResponse()
        response.header = context.header(revision: revision)
        do {
            for event in events {
                guard let token, event.token != token else {
                    if event.token == token { ahead = event.kind.isEnd ? nil : event.ahead }
                    response.events.append(try Berth_V1_Event(serializedBytes: event.encoded))
                    continue
                }
                if let move = move(past: event, token) { response.events.append(move) }
            }
        } catch {
            return end(GRPCStatus(EtcdError.internalError("a stored event does not decode: \(error)")))
        }
        if !response.events.isEmpty { call.send(response) }
    }

    /// The observed place moved up, because one before it left. Unknown while nothing was told of the place itself.
    private func move(past event: LineEvent, _ token: Revision) -> Berth_V1_Event? {
        guard let before = ahead, before > 0 else { return nil }
        ahead = before - 1
        var move = Berth_V1_Event()
        move.type = .moved
        move.revision = event.revision.value
        move.name = Data(event.name)
        move.token = token.value
        move.ahead = Int64(before - 1)
        return move
    }
}
