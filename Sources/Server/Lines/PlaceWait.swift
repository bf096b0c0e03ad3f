import EtcdAPI
import GRPCTransport
import NIOCore
import StateMachine
import SwiftProtobuf
import Vocabulary

/// One caller's way through a line: enters it, waits for its turn, then is told. Acquire, campaign and etcd's Lock and
/// Election services are all this.
///
/// The log thread tells each waiter of its own turn; nobody else is woken.
///
/// Isolation: the event loop it was made on.
final class PlaceWait: OpenEndedCall {
    /// How a wait ends.
    enum Outcome {
        /// The place holds. The revision is that of the entry that made it hold.
        case holds(EnteredPlace, at: Revision)
        /// It did not hold in time and is not in line any more; nothing was entered if it was to hold at once.
        case late(EnteredPlace)
        case failed(EtcdError)
    }

    /// A release that found the log too busy is proposed again after this long.
    private static let retryInterval = TimeAmount.milliseconds(200)

    private let context: ServerContext
    private let call: ServerCall
    private let loop: ServerLoop
    private let origin: AcquireView.Origin
    private let caller: Caller?
    private let began = LeaseKeeper.now()
    private var place: EnteredPlace?
    private var isWaiting = false
    private var hasSuspended = false
    /// The caller was told, or is gone.
    private var isOver = false
    /// What is entered after the caller is gone stays.
    private var keepsPlace = false
    private var timer: Scheduled<Void>?
    /// Called once; nil afterwards.
    private var completion: ((Outcome) -> Void)?

    /// The wait ends with `call`, whatever ends that. Nobody is the caller while authentication is off.
    init(call: ServerCall, origin: AcquireView.Origin, for caller: Caller?, context: ServerContext) {
        self.call = call
        self.origin = origin
        self.caller = caller
        self.context = context
        loop = .here
    }

    /// Time since the wait was asked for.
    var waited: Duration { LeaseKeeper.now() - began }

    /// Proposes the request and waits.
    ///
    /// - Parameters:
    ///   - payload: what `lockAcquire` carries.
    ///   - patience: longest wait; nil is without bound.
    ///   - onEntered: called when the place is in line, and before it is told to hold.
    func start(
        _ payload: [UInt8], patience: TimeAmount?, onEntered: @escaping (EnteredPlace) -> Void = { _ in },
        _ completion: @escaping (Outcome) -> Void
    ) {
        self.completion = completion
        do throws(EtcdError) {
            try caller?.permit(acquire: payload, context.leaseTable)
            try context.quota.admit(RequestCheck.placeQuotaCost(payload.count), context)
            guard payload.count <= context.limits.maxRequestBytes else { throw .requestTooLarge }
        } catch {
            return finish(.failed(error))
        }
        loop.track(self)
        call.onCancel = { _ in self.abandon() }
        context.propose(.lockAcquire, payload, for: caller?.author) { result in
            switch result {
            case .entered(let place): self.entered(place, patience, onEntered)
            case .failure(let error): self.finish(.failed(error))
            case .response, .skipped: preconditionFailure("an acquire is answered with a place")
            }
        }
    }

    private func entered(_ place: EnteredPlace, _ patience: TimeAmount?, _ onEntered: (EnteredPlace) -> Void) {
        guard place.holder == nil else { return finish(.late(place)) }
        self.place = place
        guard !isOver else {
            if !keepsPlace { leave() }
            return
        }
        onEntered(place)
        guard !isOver else { return }
        if place.holds { return granted(at: place.revision) }
        beginWaiting()
        // Whoever waits in an open call is alive: a lease that was granted with the place begins with its turn. One that
        // another place hangs on runs on: a lock that is held must not outlive its holder because another is waited for.
        if place.ownsLease, place.isAlone { hasSuspended = context.keeper.suspend(place.lease) }
        guard let patience else { return }
        timer = loop.eventLoop.assumeIsolated().scheduleTask(in: patience) { self.patienceEnded() }
    }

    /// What the log thread says of this place.
    func happened(_ event: LineEvent) {
        guard isWaiting, let place, event.token == place.token else { return }
        switch event.kind {
        case .acquired: granted(at: event.revision)
        case .expired: finish(.failed(.leaseEndedWhileWaiting))
        case .broken:
            let broken = try? Berth_V1_Event(serializedBytes: event.encoded)
            finish(.failed(.placeBroken(by: broken?.by ?? "", reason: broken?.reason ?? "")))
        case .released, .gaveUp:
            finish(.failed(context.leaseTable.exists(place.lease) ? .placeRemoved : .leaseEndedWhileWaiting))
        case .queued, .proclaimed, .moved: break
        }
    }

    /// A place holds only with a lease that lives at this moment; one whose time is up ends with it, and is told then.
    /// The time to live counts from here, where it is the handle's.
    private func granted(at revision: Revision) {
        guard let place else { return }
        let lives: Bool
        if place.ownsLease {
            if case .renewed = context.keeper.renew(place.lease) { lives = true } else { lives = false }
        } else {
            lives = context.keeper.remaining(place.lease).map { $0 > .zero } ?? false
        }
        if lives { finish(.holds(place, at: revision)) } else { beginWaiting() }
    }

    private func patienceEnded() {
        guard isWaiting, let place else { return }
        stopWaiting()
        giveUp(place) { self.finish(.late(place)) }
    }

    /// Ends the place unless it was asked for again meanwhile. A log that is too busy, or whose disk fails, is asked again as
    /// long as the lease lives: the place would otherwise stand with nobody behind it.
    private func giveUp(_ place: EnteredPlace, _ done: @escaping () -> Void = {}) {
        let release = ReleaseView.encoded(
            key: place.key, token: place.token, at: ServerContext.wallClock(), claim: place.claim)
        context.propose(.lockRelease, release) { result in
            guard case .failure(let error) = result, error.isPassing, self.context.leaseTable.exists(place.lease) else {
                return done()
            }
            self.loop.eventLoop.assumeIsolated().scheduleTask(in: Self.retryInterval) { self.giveUp(place, done) }
        }
    }

    private func beginWaiting() {
        guard !isWaiting, let place else { return }
        isWaiting = true
        loop.lines.add(self, key: place.key)
    }

    private func stopWaiting() {
        timer?.cancel()
        timer = nil
        if hasSuspended, let place { context.keeper.resume(place.lease) }
        hasSuspended = false
        guard isWaiting, let place else { return }
        isWaiting = false
        loop.lines.remove(self, key: place.key)
    }

    private func finish(_ outcome: Outcome) {
        let completion = completion
        conclude()
        completion?(outcome)
    }

    /// Lets go of everything held for the caller.
    private func conclude() {
        isOver = true
        completion = nil
        stopWaiting()
        loop.untrack(self)
        call.onCancel = nil
    }

    // MARK: - Giving up

    /// The server stops. A place of `berth.v1` stays, to be found again by the same request after the restart.
    func end(_ status: GRPCStatus) {
        keepsPlace = origin != .etcd
        if keepsPlace { conclude() } else { abandon() }
        call.fail(status)
    }

    /// Leaves the line at once: the caller was cancelled, timed out or disconnected.
    func abandon() {
        guard !isOver else { return }
        conclude()
        // Not entered yet: the entry's answer leaves then.
        if place != nil { leave() }
    }

    /// Gives up the place, if it is this call's: one that the lease had before and that holds, or that etcd's services
    /// found, is another's.
    private func leave() {
        guard let place, place.isNew || origin != .etcd && !place.holds else { return }
        giveUp(place)
    }
}
