import EtcdAPI
import GRPCTransport
import SwiftProtobuf
import Synchronization

/// Notices when a place that this client holds is taken away although its lease lives: broken by an operator, or
/// deleted through etcd's API. One stream watches the owner keys of all places held.
final class PlaceWatch: Sendable {
    private struct Entry {
        var key: Bytes
        var token: Int64
        /// Called once, when the key is gone.
        var onEnd: @Sendable () -> Void
    }
    private struct State {
        var entries: [Int64: Entry] = [:]
        var nextID: Int64 = 1
        var stream: ClientStream?
        var runner: Task<Void, Never>?
        var isClosed = false
    }
    private let caller: Caller
    private let state = Mutex(State())
    private let bell = Doorbell()

    init(_ caller: Caller) { self.caller = caller }

    /// Watches an owner key from its creation on.
    ///
    /// - Returns: what to hand to `remove`.
    func add(_ key: Bytes, token: Int64, onEnd: @escaping @Sendable () -> Void) -> Int64 {
        let (id, stream) = state.withLock { state in
            let id = state.nextID
            state.nextID += 1
            guard !state.isClosed else { return (id, ClientStream?.none) }
            state.entries[id] = Entry(key: key, token: token, onEnd: onEnd)
            if state.runner == nil { state.runner = Task { await self.run() } }
            return (id, state.stream)
        }
        stream?.post(Self.create(id, key, from: token + 1))
        bell.ring()
        return id
    }

    /// Watches it no more.
    func remove(_ id: Int64) {
        let stream = state.withLock { state in
            state.entries.removeValue(forKey: id) == nil ? nil : state.stream
        }
        stream?.post(Self.cancel(id))
    }

    /// Stops, and waits until it has.
    func close() async { await stop()?.value }

    /// Stops without waiting.
    @discardableResult
    func stop() -> Task<Void, Never>? {
        let runner = state.withLock { state in
            state.isClosed = true
            state.entries = [:]
            return state.runner
        }
        runner?.cancel()
        return runner
    }

    // MARK: The runner

    private func run() async {
        var patience = Patience(limit: .seconds(1_000_000), deadline: nil)
        while !Task.isCancelled {
            guard state.withLock({ !$0.entries.isEmpty }) else {
                await bell.wait(until: nil)
                continue
            }
            let start = ContinuousClock.now
            do throws(BerthError) {
                let open = try await caller.open(Methods.watchPath)
                let entries = state.withLock { state in
                    state.stream = open.stream
                    return state.entries
                }
                for (id, entry) in entries { open.stream.post(Self.create(id, entry.key, from: entry.token + 1)) }
                let end = await read(open.stream) { patience.succeeded() }
                state.withLock { $0.stream = nil }
                open.stream.cancel()
                try caller.judge(end, of: open, path: Methods.watchPath)
            } catch .closed, .cancelled {
                return
            } catch {
                // The lease still bounds what is lost here: without this watch a loss is noticed later.
            }
            let pause = patience.failed(start: start, now: .now) ?? .milliseconds(500)
            try? await Task.sleep(for: pause)  // Cancelled: the loop ends.
        }
    }

    private func read(_ stream: ClientStream, _ answered: () -> Void) async -> GRPCStatus {
        do throws(GRPCStatus) {
            while let message = try await stream.next() {
                guard let answer = try? Etcdserverpb_WatchResponse(serializedBytes: message) else {
                    return GRPCStatus(.unavailable, "an answer that cannot be read")
                }
                answered()
                if answer.events.contains(where: { $0.type == .delete }) {
                    end(answer.watchID)
                } else if answer.canceled, answer.compactRevision > 0 {
                    await look(answer.watchID, again: stream)
                } else if answer.canceled, answer.created {
                    // Refused, as for want of permission: the lease alone tells then.
                    continue
                }
            }
            return GRPCStatus(.unavailable, "the server ended the stream")
        } catch {
            return error
        }
    }

    private func end(_ id: Int64) {
        let entry = state.withLock { $0.entries.removeValue(forKey: id) }
        entry?.onEnd()
    }

    /// History since the place was made is gone: what is there now decides, and the watch goes on from there.
    private func look(_ id: Int64, again stream: ClientStream) async {
        guard let entry = state.withLock({ $0.entries[id] }) else { return }
        guard let page = try? await KV(caller: caller).page(Get(.key(entry.key))) else { return stream.cancel() }
        guard page.values.first?.createRevision == entry.token else { return end(id) }
        stream.post(Self.create(id, entry.key, from: page.revision + 1))
    }

    private static func create(_ id: Int64, _ key: Bytes, from revision: Int64) -> [UInt8] {
        let create = Etcdserverpb_WatchCreateRequest.with {
            $0.key = key.data
            $0.startRevision = revision
            $0.watchID = id
            $0.filters = [.noput]
        }
        return encoded(.with { $0.createRequest = create })
    }

    private static func cancel(_ id: Int64) -> [UInt8] {
        encoded(.with { $0.cancelRequest = .with { $0.watchID = id } })
    }

    private static func encoded(_ request: Etcdserverpb_WatchRequest) -> [UInt8] {
        (try? request.serializedBytes()) ?? []  // No field of it can fail to be encoded.
    }
}
