import EtcdAPI
import GRPCTransport
import StateMachine
import Store
import SwiftProtobuf
import Vocabulary

/// Who leads an election since a revision.
struct LeaderAt {
    let key: [UInt8]
    let token: Revision
    let lease: LeaseID
    let owner: String
}

/// Follows an election for one stream: every leader and every value in order, none left out. etcd's Observe and
/// `berth.v1`'s differ in what they ask and answer, which is given.
///
/// Isolation: the event loop of its call.
final class LeadershipStream: OpenStream {
    /// What a client asked for: the election's name, and the revision to begin with; zero begins with who leads now. And who
    /// it is that was judged.
    typealias Question = (name: [UInt8], start: Revision, caller: Caller?)

    private let context: ServerContext
    private let question: ([UInt8]) throws -> Question
    private let answer: (LeaderAt?, Revision) throws(EtcdError) -> [UInt8]?
    private var hasRequest = false
    private var follower: LineFollower?

    /// - Parameters:
    ///   - question: reads the request.
    ///   - answer: the message for a leader, or for nobody leading, since a revision; nil sends none.
    init(
        call: ServerCall, context: ServerContext, question: @escaping ([UInt8]) throws -> Question,
        answer: @escaping (LeaderAt?, Revision) throws(EtcdError) -> [UInt8]?
    ) {
        self.context = context
        self.question = question
        self.answer = answer
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
            let (name, start, caller) = try question(message)
            if start > .zero { follow(name, from: start) } else { begin(name, caller) }
        } catch let error as EtcdError {
            end(GRPCStatus(error))
        } catch {
            end(GRPCStatus(EtcdError.malformed(error)))
        }
    }

    /// From now on: the leader there is, then what follows.
    private func begin(_ name: [UInt8], _ caller: Caller?) {
        context.ask {
            $0.report(line: name, limit: 1)
        } _: { result in
            guard self.isOpen else { return }
            switch result {
            case .success(let report):
                self.tell(report.places.first.map { LeaderAt($0.record) }, since: report.revision) {
                    () throws(EtcdError) in try self.context.access.confirm(caller)
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
            emit: { self.changed($0, $1) },
            onError: { self.end(GRPCStatus($0)) })
        self.follower = follower
        follower.start()
    }

    /// All that changed at one revision for those who hold: the last one to hold leads.
    private func changed(_ revision: Revision, _ events: [LineEvent]) {
        guard let last = events.last(where: { $0.kind == .acquired || $0.kind == .proclaimed }) else {
            return tell(nil, since: revision)
        }
        do {
            tell(LeaderAt(event: try Berth_V1_Event(serializedBytes: last.encoded)), since: revision)
        } catch {
            end(GRPCStatus(EtcdError.internalError("a stored event does not decode: \(error)")))
        }
    }

    /// - Parameter confirm: asked once the leader's value was read, and before it leaves.
    private func tell(
        _ leader: LeaderAt?, since revision: Revision, confirm: () throws(EtcdError) -> Void = {}
    ) {
        do throws(EtcdError) {
            let message = try answer(leader, revision)
            try confirm()
            if let message { call.send(message) }
        } catch {
            end(GRPCStatus(error))
        }
    }
}

extension LeaderAt {
    init(_ record: PlaceRecord) {
        self.init(
            key: record.key, token: record.token, lease: record.lease,
            owner: String(decoding: record.terms.owner, as: UTF8.self))
    }

    fileprivate init(event: Berth_V1_Event) {
        self.init(
            key: [UInt8](event.key), token: Revision(event.token), lease: LeaseID(event.lease), owner: event.owner)
    }
}
