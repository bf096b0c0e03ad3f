import EtcdAPI
import GRPCTransport
import SwiftProtobuf
import Synchronization

/// Keeps all leases of one client alive: one stream, each lease renewed about every third of its time. Tells whoever
/// depends on a lease when it is lost, be it by the server's word or because the local deadline passed.
final class LeaseKeeper: Sendable {
    typealias Instant = ContinuousClock.Instant

    private struct State {
        var schedule: LeaseSchedule
        var ends: [LeaseID: OneShot<LeaseEnd>] = [:]
        var stream: ClientStream?
        var runner: Task<Void, Never>?
        var isClosed = false
    }
    private let caller: Caller
    private let state: Mutex<State>
    /// Rung when a lease is added, a stream stands or an answer came.
    private let clockBell = Doorbell()
    /// Rung when there is a lease to open a stream for.
    private let streamBell = Doorbell()

    init(_ caller: Caller) {
        self.caller = caller
        let interval = caller.configuration.pace.renewalInterval
        state = Mutex(State(schedule: LeaseSchedule(renewalInterval: interval)))
    }

    // MARK: Any task

    /// Renews a lease from now on.
    ///
    /// - Parameter sentAt: before the request was sent that granted or renewed it.
    /// - Returns: tells when and why the lease ended.
    func keep(_ id: LeaseID, timeToLive: Duration, sentAt: Instant) -> OneShot<LeaseEnd> {
        let end: OneShot<LeaseEnd> = state.withLock { state in
            let end = state.ends[id] ?? OneShot<LeaseEnd>()
            if state.isClosed {
                end.fire(.notRenewed)
                return end
            }
            state.ends[id] = end
            state.schedule.add(id, timeToLive: timeToLive, sentAt: sentAt)
            if state.runner == nil { state.runner = Task { await self.run() } }
            return end
        }
        clockBell.ring()
        streamBell.ring()
        return end
    }

    /// The lease was renewed by other means, with a request sent at `sentAt`.
    func renewed(_ id: LeaseID, timeToLive: Duration, sentAt: Instant) {
        state.withLock { state in
            guard state.ends[id] != nil else { return }
            state.schedule.add(id, timeToLive: timeToLive, sentAt: sentAt)
        }
        clockBell.ring()
    }

    /// Renews a lease no more.
    func forget(_ id: LeaseID, as end: LeaseEnd) {
        let ended = state.withLock { state in
            state.schedule.remove(id)
            return state.ends.removeValue(forKey: id)
        }
        ended?.fire(end)
    }

    /// Until when a lease certainly lives; nil for one that is not kept.
    func deadline(of id: LeaseID) -> Instant? { state.withLock { $0.schedule.deadline(of: id) } }

    /// Renews nothing any more, and waits until all has stopped. Leases then run out by themselves.
    func close() async { await stop()?.value }

    /// Renews nothing any more, without waiting.
    @discardableResult
    func stop() -> Task<Void, Never>? {
        let (runner, ends) = state.withLock { state in
            state.isClosed = true
            defer { state.ends = [:] }
            return (state.runner, state.ends.values)
        }
        runner?.cancel()
        for end in ends { end.fire(.notRenewed) }
        return runner
    }

    // MARK: The runner

    private func run() async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.watchTheClock() }
            group.addTask { await self.converse() }
            await group.waitForAll()
        }
    }

    /// Sends what is due and notices what is lost.
    private func watchTheClock() async {
        while !Task.isCancelled {
            let (work, stream, lost) = state.withLock { state in
                let work = state.schedule.work(now: .now, canSend: state.stream != nil)
                let lost = work.lost.compactMap { state.ends.removeValue(forKey: $0) }
                return (work, state.stream, lost)
            }
            for end in lost { end.fire(.deadlinePassed) }
            for id in work.due { stream?.post(Self.request(id)) }
            if work.isStalled { stream?.cancel() }
            // Looked at every second at the latest: timers stand still while the machine is suspended, leases do not.
            await clockBell.wait(until: work.next.map { min($0, .now + .seconds(1)) })
        }
    }

    private static func request(_ id: LeaseID) -> [UInt8] {
        let request = Etcdserverpb_LeaseKeepAliveRequest.with { $0.id = id.value }
        return (try? request.serializedBytes()) ?? []  // Two numbers can always be encoded.
    }

    /// Has a stream as long as there are leases, and reads its answers.
    private func converse() async {
        var patience = Self.freshPatience
        while !Task.isCancelled {
            guard state.withLock({ !$0.schedule.isEmpty }) else {
                await streamBell.wait(until: nil)
                continue
            }
            let start = Instant.now
            do throws(BerthError) {
                let open = try await caller.open(Methods.keepAlivePath)
                state.withLock { $0.stream = open.stream }
                clockBell.ring()
                let end = await read(open.stream) { patience.succeeded() }
                state.withLock { state in
                    state.stream = nil
                    state.schedule.disconnected(now: .now)
                }
                open.stream.cancel()
                try caller.judge(end, of: open, path: Methods.keepAlivePath)
            } catch .closed, .cancelled {
                return
            } catch {
                // Whatever it was, the leases live until their deadlines, and the next stream may bring better news.
            }
            let pause = patience.failed(start: start, now: .now) ?? .milliseconds(500)
            if Task.isCancelled { return }
            try? await Task.sleep(for: pause)  // Cancelled: the loop ends.
        }
    }

    private static var freshPatience: Patience {
        Patience(limit: .seconds(1_000_000), deadline: nil, firstPause: .milliseconds(10))
    }

    /// Takes answers in until the stream ends.
    private func read(_ stream: ClientStream, _ answered: () -> Void) async -> GRPCStatus {
        do throws(GRPCStatus) {
            while let message = try await stream.next() {
                guard let answer = try? Etcdserverpb_LeaseKeepAliveResponse(serializedBytes: message) else {
                    return GRPCStatus(.unavailable, "an answer that cannot be read")
                }
                answered()
                let id = LeaseID(answer.id)
                let ended = state.withLock { state in
                    let isLost = state.schedule.answered(id, timeToLive: .seconds(answer.ttl))
                    return isLost ? state.ends.removeValue(forKey: id) : nil
                }
                ended?.fire(.gone)
                clockBell.ring()
                if answer.ttl > 0 { caller.configuration.pace.onRenewal?(id) }
            }
            return GRPCStatus(.unavailable, "the server ended the stream")
        } catch {
            return error
        }
    }
}

/// Why a lease is not kept any more.
public enum LeaseEnd: Sendable, Hashable, CustomStringConvertible {
    /// The server does not know it: it ran out, or someone revoked it.
    case gone
    /// No renewal was answered before its time was up.
    case deadlinePassed
    /// This client gave it up.
    case revoked
    /// This client renews it no more, as it was told to, or was closed.
    case notRenewed

    /// In words.
    public var description: String {
        switch self {
        case .gone: "its lease ran out or was revoked"
        case .deadlinePassed: "its lease could not be renewed in time"
        case .revoked: "its lease was given up"
        case .notRenewed: "its lease is not renewed any more"
        }
    }
}
