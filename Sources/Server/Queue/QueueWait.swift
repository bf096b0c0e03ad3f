import EtcdAPI
import FoundationEssentials
import GRPCTransport
import StateMachine
import Store
import SwiftProtobuf
import Vocabulary

/// One caller's way through a line: enters it, waits for everyone before it, then is told. Lock and campaign are both
/// this.
///
/// Each waiter watches only the key right before its own, so one release wakes one waiter.
///
/// Isolation: the event loop it was made on.
final class QueueWait: OpenEndedCall {
    /// What entering the line found.
    struct Entered {
        let key: [UInt8]
        let createRevision: Revision
        /// Of the entry's transaction.
        let header: Etcdserverpb_ResponseHeader
        /// The key stood in line before; its value then.
        let earlierValue: [UInt8]?
    }

    private let context: ServerContext
    private let queue: LeaseQueue
    private let call: ServerCall
    private let loop: ServerLoop
    private var entered: Entered?
    /// Whether this call made the place it waits in; a place the lease had before is not this call's to give up.
    private var ownsPlace = false
    private var watcher: Watcher?
    private var isAbandoned = false
    /// Called once when the wait is over; nil afterwards.
    private var completion: ((Result<Etcdserverpb_ResponseHeader, EtcdError>) -> Void)?

    /// The wait ends with `call`, whatever ends that.
    init(queue: LeaseQueue, call: ServerCall, context: ServerContext) {
        self.queue = queue
        self.call = call
        self.context = context
        loop = .here
        loop.track(self)
        call.onCancel = { _ in self.abandon() }
    }

    // MARK: - Entering

    /// Enters the line with a key owned by `lease`, or finds the place the lease has already.
    func enter(lease: Int64, value: [UInt8], _ completion: @escaping (Result<Entered, EtcdError>) -> Void) {
        let key = queue.key(of: lease)
        var put = Etcdserverpb_PutRequest()
        put.key = Data(key)
        put.value = Data(value)
        put.lease = lease
        var get = Etcdserverpb_RangeRequest()
        get.key = Data(key)
        var absent = Etcdserverpb_Compare()
        absent.key = Data(key)
        absent.target = .create
        absent.result = .equal
        absent.createRevision = 0
        var txn = Etcdserverpb_TxnRequest()
        txn.compare = [absent]
        txn.success = [.with { $0.requestPut = put }]
        txn.failure = [.with { $0.requestRange = get }]
        context.propose(.txn, txn, expecting: Etcdserverpb_TxnResponse.self) { result in
            switch result {
            case .failure(let error):
                self.release()
                completion(.failure(error))
            case .success(let response):
                let earlier = response.succeeded ? nil : response.responses.first?.responseRange.kvs.first
                let entered = Entered(
                    key: key,
                    createRevision: Revision(earlier?.createRevision ?? response.header.revision),
                    header: response.header, earlierValue: earlier.map { [UInt8]($0.value) })
                self.entered = entered
                self.ownsPlace = response.succeeded
                if self.isAbandoned { self.leave() } else { completion(.success(entered)) }
            }
        }
    }

    // MARK: - Waiting

    /// Waits until nobody stands before. The header handed over is that of the read that found the head free, or the
    /// entry's own when there was nobody from the start.
    func waitForTurn(_ completion: @escaping (Result<Etcdserverpb_ResponseHeader, EtcdError>) -> Void) {
        self.completion = completion
        step(isFirst: true)
    }

    private func step(isFirst: Bool) {
        guard !isAbandoned, let entered else { return }
        let queue = queue
        context.read(queue.range) { snapshot in
            (try queue.predecessor(of: entered.createRevision, in: snapshot), snapshot.revision)
        } completion: { result in
            guard !self.isAbandoned else { return }
            switch result {
            case .success((let predecessor?, let revision)): self.watch(predecessor, from: revision.next)
            case .success((nil, let revision)):
                self.finish(.success(isFirst ? entered.header : self.context.header(revision: revision)))
            case .failure(let error): self.finish(.failure(error))
            }
        }
    }

    private func watch(_ place: LeaseQueue.Place, from revision: Revision) {
        let observer = WatchObserver(
            onEvent: { event in
                guard event.isDeletion else { return }
                self.stopWatching()
                self.step(isFirst: false)
            },
            onLost: {
                self.watcher = nil
                self.step(isFirst: false)
            })
        let watcher = Watcher(
            range: KeyRange(key: place.key, end: []), shape: .noPut, consumer: .observer(observer), next: revision)
        self.watcher = watcher
        loop.hub.add(watcher)
    }

    private func stopWatching() {
        if let watcher { loop.hub.remove(watcher) }
        watcher = nil
    }

    private func finish(_ result: Result<Etcdserverpb_ResponseHeader, EtcdError>) {
        stopWatching()
        release()
        let completion = completion
        self.completion = nil
        completion?(result)
    }

    /// Whether the caller's own key is still in line, as it must be for a lock to be held.
    func isStillInLine() throws(EtcdError) -> Bool {
        guard let entered else { return false }
        return try context.store.readingEtcdErrors { snapshot in
            let record = try entered.key.withUnsafeBytes { try snapshot.record(of: $0, at: snapshot.revision) }
            return record?.createRevision == entered.createRevision
        }
    }

    // MARK: - Giving up

    /// The server stops: the caller is told and leaves the line, to come back later.
    func end(_ status: GRPCStatus) {
        abandon()
        call.fail(status)
    }

    private func release() {
        loop.untrack(self)
        call.onCancel = nil
    }

    /// Leaves the line at once: the caller was cancelled, timed out or disconnected.
    func abandon() {
        guard !isAbandoned else { return }
        isAbandoned = true
        completion = nil
        stopWatching()
        release()
        // Not entered yet: the entry's answer leaves then.
        if entered != nil { leave() }
    }

    /// Gives up the place, if it is this call's and still the one it entered.
    private func leave() {
        guard ownsPlace, let entered else { return }
        var delete = Etcdserverpb_DeleteRangeRequest()
        delete.key = Data(entered.key)
        context.proposeFenced(
            key: entered.key, createRevision: entered.createRevision, .with { $0.requestDeleteRange = delete }
        ) { _ in }
    }
}

extension ServerContext {
    /// Runs one operation if a key still has the create revision it was entered with: etcd's fencing idiom.
    func proposeFenced(
        key: [UInt8], createRevision: Revision, _ operation: Etcdserverpb_RequestOp,
        _ completion: @escaping (Result<Etcdserverpb_TxnResponse, EtcdError>) -> Void
    ) {
        var unchanged = Etcdserverpb_Compare()
        unchanged.key = Data(key)
        unchanged.target = .create
        unchanged.result = .equal
        unchanged.createRevision = createRevision.value
        var txn = Etcdserverpb_TxnRequest()
        txn.compare = [unchanged]
        txn.success = [operation]
        propose(.txn, txn, expecting: Etcdserverpb_TxnResponse.self, completion)
    }
}
