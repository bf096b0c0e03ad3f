package import Store
package import Vocabulary

/// What of an event a watch wants to see. Watches of one range and one shape share one encoding of an event.
package struct WatchShape: OptionSet, Hashable {
    package let rawValue: UInt8

    package init(rawValue: UInt8) { self.rawValue = rawValue }

    static let previousKeyValue = WatchShape(rawValue: 1)
    static let noPut = WatchShape(rawValue: 2)
    static let noDelete = WatchShape(rawValue: 4)

    /// Number of distinct shapes.
    static let all = 8

    /// Whether an event of this kind passes the filters.
    func wants(isDeletion: Bool) -> Bool {
        !contains(isDeletion ? .noDelete : .noPut)
    }
}

/// One watch. It is either live (in its hub's index, in a group), behind (being replayed from the store, or waiting
/// for room in its stream), or ended.
///
/// Isolation: its hub's event loop.
package final class Watcher {
    package enum Consumer {
        /// A client's stream.
        case stream(WatchStream)
        /// Code of this server that waits for something.
        case observer(WatchObserver)
    }

    package let range: KeyRange
    let shape: WatchShape
    let consumer: Consumer
    /// The id its stream knows it by.
    let id: Int64
    let wantsFragments: Bool
    let wantsProgress: Bool

    /// The lowest revision not yet delivered. For a live watch, revisions up to the hub's delivered one count too.
    var next: Revision
    /// Events were sent since the last progress tick, so none is needed at the next.
    var sentSinceTick = false
    var isEnded = false
    /// Queued in the hub for replay.
    var isQueued = false

    /// Set while it is live.
    var group: WatchGroup?
    var positionInGroup = 0

    package init(
        range: KeyRange, shape: WatchShape, consumer: Consumer, id: Int64 = 0, next: Revision,
        wantsFragments: Bool = false, wantsProgress: Bool = false
    ) {
        self.range = range
        self.shape = shape
        self.consumer = consumer
        self.id = id
        self.next = next
        self.wantsFragments = wantsFragments
        self.wantsProgress = wantsProgress
    }

    var isLive: Bool { group != nil }

    /// Whether the consumer can take another response now.
    var hasRoom: Bool {
        switch consumer {
        case .stream(let stream): stream.hasRoom
        case .observer: true
        }
    }
}

/// Code of this server that follows events.
package struct WatchObserver {
    /// Called with each matching event, in order.
    let onEvent: (ObservedEvent) -> Void
    /// Called once when the watch ended because the history it needs is gone or unreadable.
    let onLost: () -> Void

    package init(onEvent: @escaping (ObservedEvent) -> Void, onLost: @escaping () -> Void) {
        self.onEvent = onEvent
        self.onLost = onLost
    }
}

/// An event as code of this server sees it, its bytes its own.
package struct ObservedEvent {
    let revision: Revision
    let isDeletion: Bool
    /// The encoded `mvccpb.KeyValue`; of a deletion, key and mod revision only.
    let keyValue: [UInt8]
}
