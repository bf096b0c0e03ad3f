import EtcdAPI
import NIOCore
import StateMachine
import Store
import Vocabulary

/// One event loop's share of the lines: who waits here for a turn, and who follows events.
///
/// Isolation: its event loop.
final class LineHub {
    private let number: Int
    private let interest: LoopInterest
    private var waits = BytesTable<[PlaceWait]>()
    private var followers: [ObjectIdentifier: LineFollower] = [:]

    init(number: Int, interest: LoopInterest) {
        self.number = number
        self.interest = interest
    }

    /// Waits for news of the place with an owner key; the log thread knows since it applied the entry that this loop wants
    /// to hear of it.
    func add(_ wait: PlaceWait, key: [UInt8]) { waits[key, default: []].append(wait) }

    func remove(_ wait: PlaceWait, key: [UInt8]) {
        waits[key]?.removeAll { $0 === wait }
        if waits[key]?.isEmpty ?? false { waits[key] = nil }
    }

    /// From the next event on `follower` gets all of them.
    func add(_ follower: LineFollower) {
        if followers.isEmpty { interest.set(number) }
        followers[ObjectIdentifier(follower)] = follower
    }

    func remove(_ follower: LineFollower) {
        guard followers.removeValue(forKey: ObjectIdentifier(follower)) != nil, followers.isEmpty else { return }
        interest.clear(number)
    }

    /// Takes a turn's events: all of them for followers, or those of places that wait here.
    func deliver(_ events: [LineEvent]) {
        for event in events {
            for wait in waits[event.key] ?? [] { wait.happened(event) }
        }
        guard !followers.isEmpty else { return }
        var first = events.startIndex
        while first < events.endIndex {
            let revision = events[first].revision
            let end = events[first...].firstIndex { $0.revision != revision } ?? events.endIndex
            for follower in Array(followers.values) { follower.take(events[first..<end], at: revision) }
            first = end
        }
    }
}

/// Which loop waits for which place, so that a grant wakes one loop and no other.
///
/// Bounded by the places there are. Isolation: the log thread.
struct WaitRouting {
    private var loops = BytesTable<UInt64>()

    /// Loops beyond the bits share the last one: they may be told of places they do not know.
    private static func bit(_ loop: Int) -> UInt64 { 1 << UInt64(min(loop, 63)) }

    mutating func waits(_ key: [UInt8], on loop: Int) { loops[key, default: 0] |= Self.bit(loop) }

    /// Whether a loop wants to hear of an event.
    func wants(_ event: LineEvent, _ loop: Int) -> Bool { loops[event.key].map { $0 & Self.bit(loop) != 0 } ?? false }

    /// The event was told: a place that holds or ended is waited for no longer. One that was granted may still end
    /// before the grant is told, so it is known until it ends.
    mutating func told(_ event: LineEvent) {
        switch event.kind {
        case .released, .expired, .gaveUp, .broken: loops[event.key] = nil
        case .queued, .acquired, .proclaimed, .moved: break
        }
    }
}
