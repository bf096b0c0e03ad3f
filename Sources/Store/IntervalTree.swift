/// Values filed under key ranges, found by a key inside them, or walked through in order: a treap ordered by range, where
/// each node knows the farthest end below it. A look-up costs O(log n) and one visit for each range that holds the key.
package struct IntervalTree<Value> {
    private var root: Node?
    private var priorities = PriorityGenerator()

    package init() {}

    /// Whether it holds nothing.
    package var isEmpty: Bool { root == nil }

    /// Files a value. The range must not be in use.
    package mutating func insert(_ value: Value, at range: KeyRange) {
        root = Self.insert(Node(range: range, value: value, priority: priorities.next()), into: root)
    }

    /// Forgets a range; harmless when it is not there.
    package mutating func remove(_ range: KeyRange) { root = Self.remove(range, from: root) }

    /// Calls `visit` with the value of every range that holds `key`, in order of the ranges.
    package func forEach(holding key: UnsafeRawBufferPointer, _ visit: (Value) -> Visit) {
        var visited = 0
        _ = Self.stab(root, key, &visited, visit)
    }

    /// Visits the values in order of their ranges, from the first range that begins at or after `start`.
    package func forEach(from start: [UInt8], _ visit: (Value) -> Visit) {
        _ = Self.walk(root, start, visit)
    }

    private static func walk(_ tree: Node?, _ start: [UInt8], _ visit: (Value) -> Visit) -> Visit {
        guard let tree else { return .next }
        let isIn = compareKeys(tree.range.key, start) >= 0
        if isIn {
            if case .stop = walk(tree.left, start, visit) { return .stop }
            if case .stop = visit(tree.value) { return .stop }
        }
        return walk(tree.right, start, visit)
    }

    /// Nodes a look-up touches: what it costs.
    package func nodesVisited(lookingFor key: UnsafeRawBufferPointer) -> Int {
        var visited = 0
        _ = Self.stab(root, key, &visited) { _ in .next }
        return visited
    }

    private final class Node {
        let range: KeyRange
        let value: Value
        let priority: UInt64
        var left: Node?
        var right: Node?
        /// The farthest end in this subtree; nil stands for "without end".
        var farthestEnd: [UInt8]?

        init(range: KeyRange, value: Value, priority: UInt64) {
            self.range = range
            self.value = value
            self.priority = priority
            farthestEnd = range.isUnbounded ? nil : range.end
        }

        func update() {
            farthestEnd = range.isUnbounded ? nil : range.end
            if let left { extend(by: left) }
            if let right { extend(by: right) }
        }

        private func extend(by child: Node) {
            guard let mine = farthestEnd else { return }
            guard let theirs = child.farthestEnd else { return farthestEnd = nil }
            if compareKeys(theirs, mine) > 0 { farthestEnd = theirs }
        }
    }

    private static func order(_ a: KeyRange, _ b: KeyRange) -> Int {
        let byKey = compareKeys(a.key, b.key)
        return byKey != 0 ? byKey : compareKeys(a.end, b.end)
    }

    private static func insert(_ node: Node, into tree: Node?) -> Node {
        guard let tree else { return node }
        if node.priority > tree.priority {
            (node.left, node.right) = split(tree, at: node.range)
            node.update()
            return node
        }
        if order(node.range, tree.range) < 0 {
            tree.left = insert(node, into: tree.left)
        } else {
            tree.right = insert(node, into: tree.right)
        }
        tree.update()
        return tree
    }

    private static func split(_ tree: Node?, at range: KeyRange) -> (Node?, Node?) {
        guard let tree else { return (nil, nil) }
        if order(tree.range, range) < 0 {
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
        let position = order(range, tree.range)
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
        _ tree: Node?, _ key: UnsafeRawBufferPointer, _ visited: inout Int, _ visit: (Value) -> Visit
    ) -> Visit {
        guard let tree else { return .next }
        visited += 1
        // Nothing below ends after the key: nothing below can hold it.
        if let farthest = tree.farthestEnd, compareKeys(farthest, key) <= 0 { return .next }
        if case .stop = stab(tree.left, key, &visited, visit) { return .stop }
        guard compareKeys(tree.range.key, key) <= 0 else { return .next }
        if tree.range.contains(key), case .stop = visit(tree.value) { return .stop }
        return stab(tree.right, key, &visited, visit)
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
