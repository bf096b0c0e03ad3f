import Store
import Vocabulary

/// Finds the watches that want a key, at a cost that does not grow with the watches that do not.
///
/// Single keys are a hash, ranges an interval tree. Watches of one range share one group, so that what is the same for
/// all of them is done once.
///
/// Isolation: none of its own. Each event loop's hub holds one.
package struct WatchIndex {
    private var single = BytesTable<WatchGroup>()
    private var ranges: [KeyRange: WatchGroup] = [:]
    private var tree = IntervalTree<WatchGroup>()

    package init() {}

    /// How many watches it holds.
    package private(set) var count = 0

    /// Puts a watch where events will find it.
    package mutating func insert(_ watcher: Watcher) {
        let range = watcher.range
        let group: WatchGroup
        if let existing = range.isSingleKey ? single[range.key] : ranges[range] {
            group = existing
        } else {
            group = WatchGroup(range: range)
            if range.isSingleKey {
                single[range.key] = group
            } else {
                ranges[range] = group
                tree.insert(group, at: range)
            }
        }
        group.add(watcher)
        count += 1
    }

    /// Takes a watch out. The watch must be in.
    package mutating func remove(_ watcher: Watcher) {
        guard let group = watcher.group else {
            preconditionFailure("a watch that is not in the index cannot be taken out of it")
        }
        group.remove(watcher)
        count -= 1
        guard group.watchers.isEmpty else { return }
        if group.range.isSingleKey {
            single[group.range.key] = nil
        } else {
            ranges[group.range] = nil
            tree.remove(group.range)
        }
    }

    /// Calls `visit` once for every group whose range holds `key`.
    package func forEachGroup(holding key: UnsafeRawBufferPointer, _ visit: (WatchGroup) -> Void) {
        if !single.isEmpty, let group = single[[UInt8](key)] { visit(group) }
        tree.forEach(holding: key) { group in
            visit(group)
            return .next
        }
    }

    /// Nodes of the tree a lookup touches: what a lookup costs.
    package func nodesVisited(lookingFor key: UnsafeRawBufferPointer) -> Int {
        tree.nodesVisited(lookingFor: key)
    }

    /// Every group there is, in no particular order.
    var groups: [WatchGroup] { Array(single.values) + Array(ranges.values) }
}

/// All live watches of one range on one event loop.
package final class WatchGroup {
    let range: KeyRange
    package private(set) var watchers: [Watcher] = []
    /// Positions, in the batch being delivered, of the events of one revision that this range holds.
    var pendingEvents: [Int] = []

    init(range: KeyRange) { self.range = range }

    func add(_ watcher: Watcher) {
        watcher.group = self
        watcher.positionInGroup = watchers.count
        watchers.append(watcher)
    }

    func remove(_ watcher: Watcher) {
        let last = watchers.removeLast()
        if last !== watcher {
            last.positionInGroup = watcher.positionInGroup
            watchers[watcher.positionInGroup] = last
        }
        watcher.group = nil
    }
}
