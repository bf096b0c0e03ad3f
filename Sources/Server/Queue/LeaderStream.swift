import EtcdAPI
import GRPCTransport
import Store
import SwiftProtobuf
import Vocabulary

/// One Observe stream: the current leader, then every new value of it, then the next leader.
///
/// A client that does not keep up skips to the newest state; nothing queues up for it.
///
/// Isolation: the event loop of its call.
final class LeaderStream: OpenStream {
    private let context: ServerContext
    private var queue: LeaseQueue?
    private var watcher: Watcher?
    /// Something changed while the stream had no room.
    private var isStale = false

    init(call: ServerCall, context: ServerContext) {
        self.context = context
        super.init(call: call)
    }

    override func requestsEnded() {
        if queue == nil { end(.missingRequest) }
    }

    override func roomIsFree() {
        guard isStale else { return }
        isStale = false
        follow()
    }

    override func closed() { stopWatching() }

    private func end(_ error: EtcdError) { end(GRPCStatus(error.asUnknown)) }

    override func receive(_ message: [UInt8]) {
        guard queue == nil else { return }
        do {
            let request = try V3electionpb_LeaderRequest(serializedBytes: message)
            queue = LeaseQueue(name: [UInt8](request.name))
        } catch {
            return end(GRPCStatus(EtcdError.malformed(error)))
        }
        follow()
    }

    /// Sends the leader there is and follows its key; without one, waits for the first.
    private func follow() {
        guard let queue, call.isActive else { return }
        stopWatching()
        context.read(queue.range) {
            (try queue.head(in: $0), $0.revision)
        } completion: { result in
            guard self.call.isActive else { return }
            switch result {
            case .success((let head?, let revision)):
                self.send(head.keyValue, revision)
                self.watchLeader(head.place.key, from: revision.next)
            case .success((nil, let revision)):
                // Any key that appears decides the question anew.
                self.watch(queue.range, shape: .noDelete, from: revision.next) { _ in self.follow() }
            case .failure(let error): self.end(error)
            }
        }
    }

    private func watchLeader(_ key: [UInt8], from revision: Revision) {
        watch(KeyRange(key: key, end: []), shape: [], from: revision) { event in
            if event.isDeletion { return self.follow() }
            self.send(event.keyValue, event.revision)
        }
    }

    private func watch(
        _ range: KeyRange, shape: WatchShape, from revision: Revision,
        _ onEvent: @escaping (ObservedEvent) -> Void
    ) {
        let observer = WatchObserver(
            onEvent: onEvent,
            onLost: {
                self.watcher = nil
                self.follow()
            })
        let watcher = Watcher(range: range, shape: shape, consumer: .observer(observer), next: revision)
        self.watcher = watcher
        loop.hub.add(watcher)
    }

    private func stopWatching() {
        if let watcher { loop.hub.remove(watcher) }
        watcher = nil
    }

    private func send(_ keyValue: [UInt8], _ revision: Revision) {
        guard call.hasRoom else {
            isStale = true
            return
        }
        do {
            call.send(try context.leaderResponse(keyValue, revision))
        } catch {
            end(error)
        }
    }
}
