import Store
import Vocabulary

/// Finds the watches that want a key, at a cost that does not grow with the watches that do not.
///
/// Single keys are a hash; ranges are an interval tree: a treap ordered by range, where each node knows the farthest
/// end below it. Watches of one range share one group, so that what is the same for all of them is done once.
///
/// Isolation: none of its own. Each event loop's hub holds one.
package struct WatchIndex {
    private var single: [[UInt8]: WatchGroup] = [:]
    private var ranges: [KeyRange: WatchGroup] = [:]
    private var root: Node?
    private var priorities = PriorityGenerator()

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
                root = Self.insert(Node(group: group, priority: priorities.next()), into: root)
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
            root = Self.remove(group.range, from: root)
        }
    }

    /// Calls `visit` once for every group whose range holds `key`.
    package func forEachGroup(holding key: UnsafeRawBufferPointer, _ visit: (WatchGroup) -> Void) {
        if !single.isEmpty, let group = single[[UInt8](key)] { visit(group) }
        var visited = 0
        Self.stab(root, key, &visited, visit)
    }

    /// Nodes of the tree a lookup touches: what a lookup costs.
    package func nodesVisited(lookingFor key: UnsafeRawBufferPointer) -> Int {
        var visited = 0
        Self.stab(root, key, &visited) { _ in }
        return visited
    }

    /// Every group there is, in no particular order.
    var groups: [WatchGroup] { Array(single.values) + Array(ranges.values) }

    // MARK: - The treap

    private final class Node {
        let group: WatchGroup
        let priority: UInt64
        var left: Node?
        var right: Node?
        /// The farthest end in this subtree; nil stands for "without end".
        var farthestEnd: [UInt8]?

        init(group: WatchGroup, priority: UInt64) {
            self.group = group
            self.priority = priority
            farthestEnd = group.range.isUnbounded ? nil : group.range.end
        }

        func update() {
            farthestEnd = group.range.isUnbounded ? nil : group.range.end
            for child in [left, right] {
                guard let child, let mine = farthestEnd else { continue }
                guard let theirs = child.farthestEnd else {
                    farthestEnd = nil
                    continue
                }
                if compareKeys(theirs, mine) > 0 { farthestEnd = theirs }
            }
        }
    }

    private static func order(_ a: KeyRange, _ b: KeyRange) -> Int {
        let byKey = compareKeys(a.key, b.key)
        return byKey != 0 ? byKey : compareKeys(a.end, b.end)
    }

    private static func insert(_ node: Node, into tree: Node?) -> Node {
        guard let tree else { return node }
        if node.priority > tree.priority {
            (node.left, node.right) = split(tree, at: node.group.range)
            node.update()
            return node
        }
        if order(node.group.range, tree.group.range) < 0 {
            tree.left = insert(node, into: tree.left)
        } else {
            tree.right = insert(node, into: tree.right)
        }
        tree.update()
        return tree
    }

    private static func split(_ tree: Node?, at range: KeyRange) -> (Node?, Node?) {
        guard let tree else { return (nil, nil) }
        if order(tree.group.range, range) < 0 {
            let (low, high) = split(tree.right, at: range)
            tree.right = low
            tree.update()
            return (tree, high)
        }
        let (low, high) = split(tree.left, at: range)
        tree.left = high
        tree.update()
        return (low, tree)
    }

    private static func merge(_ low: Node?, _ high: Node?) -> Node? {
        guard let low else { return high }
        guard let high else { return low }
        if low.priority > high.priority {
            low.right = merge(low.right, high)
            low.update()
            return low
        }
        high.left = merge(low, high.left)
        high.update()
        return high
    }

    private static func remove(_ range: KeyRange, from tree: Node?) -> Node? {
        guard let tree else { return nil }
        let position = order(range, tree.group.range)
        if position == 0 { return merge(tree.left, tree.right) }
        if position < 0 {
            tree.left = remove(range, from: tree.left)
        } else {
            tree.right = remove(range, from: tree.right)
        }
        tree.update()
        return tree
    }

    private static func stab(
        _ tree: Node?, _ key: UnsafeRawBufferPointer, _ visited: inout Int, _ visit: (WatchGroup) -> Void
    ) {
        guard let tree else { return }
        visited += 1
        // Nothing below ends after the key: nothing below can hold it.
        if let farthest = tree.farthestEnd, compareKeys(farthest, key) <= 0 { return }
        stab(tree.left, key, &visited, visit)
        guard compareKeys(tree.group.range.key, key) <= 0 else { return }
        if tree.group.range.contains(key) { visit(tree.group) }
        stab(tree.right, key, &visited, visit)
    }
}

private func compareKeys(_ a: [UInt8], _ b: UnsafeRawBufferPointer) -> Int {
    a.withUnsafeBytes { compareBytes($0, b) }
}

private func compareKeys(_ a: [UInt8], _ b: [UInt8]) -> Int {
    b.withUnsafeBytes { compareKeys(a, $0) }
}

/// Treap priorities: any well-spread sequence keeps the tree shallow, so a fixed one is as good as a random one and
/// repeats in tests.
private struct PriorityGenerator {
    private var state: UInt64 = 0x853c_49e6_748f_ea9b

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return (state >> 18) ^ (state << 23)
    }
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
