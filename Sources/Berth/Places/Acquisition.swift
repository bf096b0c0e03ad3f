import EtcdAPI
import SwiftProtobuf

/// Gets a place in a line and waits for its turn, for locks and elections alike, through `berth.v1`.
struct Acquisition {
    let core: ClientCore
    let name: String
    let timeToLive: Duration
    let wait: Duration?
    /// What is asked of the server, by the lease that is to own the place.
    let lease = LeaseID.random()

    /// What the server answered, locks and elections alike.
    struct Answer {
        var isAcquired: Bool
        var handle: Berth_V1_Handle
        var waitedMilliseconds: Int64
        var ahead: Int64
        var holder: Place?
    }

    /// The call may take as long as the wait, and then as long as any call.
    var options: Caller.Options {
        guard let wait else { return .init(timeout: .none) }
        return .init(timeout: .after(wait + core.configuration.requestTimeout))
    }

    /// Makes the call and takes the place over.
    ///
    /// - Throws: `.notAcquired`, `.lockLost` when the place ended while it waited, `.cancelled`. Nothing is left behind.
    func run(_ call: () async throws(BerthError) -> Answer) async throws(BerthError) -> HeldPlace {
        let start = ContinuousClock.now
        let answer: Answer
        do throws(BerthError) {
            answer = try await repeated(call)
        } catch {
            throw giveUp(error)
        }
        guard answer.isAcquired else { throw .notAcquired(holder: answer.holder) }
        let handle = answer.handle
        var timeToLive = Duration.seconds(handle.ttl)
        // The server gave the lease its full time when it granted the place: no earlier than the call began. How long it
        // waited there is no help, since clocks run apart in a long wait.
        let waited = Duration.milliseconds(answer.waitedMilliseconds)
        var sentAt = start
        if ContinuousClock.now - sentAt > timeToLive / 2 {
            // Too little of that is left to be sure of: have the place confirmed before anyone relies on it.
            do throws(BerthError) { (timeToLive, sentAt) = try await confirm(handle) } catch { throw giveUp(error) }
        }
        return HeldPlace(
            core: core,
            terms: .init(
                name: name, key: Bytes(handle.key), token: handle.token, lease: LeaseID(handle.lease),
                timeToLive: timeToLive, waited: waited, ahead: Int(answer.ahead), ownsLease: true),
            dialect: .berth, leaseEnd: core.keeper.keep(lease, timeToLive: timeToLive, sentAt: sentAt))
    }

    /// After a broken connection the place may be found again, and then be taken out of the line as the server notices
    /// that the first call is gone: another place is entered then.
    private func repeated(_ call: () async throws(BerthError) -> Answer) async throws(BerthError) -> Answer {
        for _ in 0..<3 {
            do throws(BerthError) {
                return try await call()
            } catch .server(_, let message) where message.contains("the place was removed from the line") {
                try core.caller.checkOpen()
            }
        }
        return try await call()
    }

    private func confirm(_ handle: Berth_V1_Handle) async throws(BerthError) -> (Duration, ContinuousClock.Instant) {
        let sentAt = ContinuousClock.now
        let request = Berth_V1_RenewRequest.with {
            $0.key = handle.key
            $0.token = handle.token
        }
        let answer = try await core.caller.call(Methods.renew, request)
        return (.seconds(answer.ttl), sentAt)
    }

    /// Sees to it that nothing stays behind of an attempt that failed in the middle.
    private func giveUp(_ error: BerthError) -> BerthError {
        switch error {
        case .unsupported, .invalid, .permissionDenied, .unauthenticated: return error
        case .server(_, let message) where message.contains("lease ended while"):
            return .lockLost(name: name, reason: "its lease ended while it waited in line")
        case .server(_, let message) where message.contains("the place was "):
            core.abandon(lease)
            let reason = message.replacing("berth: the place was ", with: "")
            return .lockLost(name: name, reason: reason)
        case .server(let code, let message) where message.hasPrefix("berth: ") && (code == 5 || code == 9):
            core.abandon(lease)
            return .lockLost(name: name, reason: "its time was up before the answer arrived")
        case .timedOut where wait != nil:
            core.abandon(lease)
            return .notAcquired(holder: nil)
        default:
            // Cancelled, out of time or cut off: the server may have granted it all the same.
            core.abandon(lease)
            return error
        }
    }
}
