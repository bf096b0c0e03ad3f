import CLMDB

// What is verified before base is used at all: everything that leads to the rest, about one page in a hundred.
extension BasePages {
    /// The list of free pages, the main tree and `meta` as a whole, of all other trees the branch pages.
    func verifyAtOpening(_ metas: MetaPages) throws(StoreError) {
        guard isChecking else { return }
        let newest = metas.newest
        try verify(newest.free, isWhole: true, newest.lastPage)
        try verify(newest.main, isWhole: true, newest.lastPage)
        for (name, tree) in try namedTrees(newest) {
            try verify(tree, isWhole: name == Array("meta".utf8), newest.lastPage)
        }
    }

    /// The named trees of a transaction.
    func namedTrees(_ meta: MetaPage) throws(StoreError) -> [(name: [UInt8], tree: TreeRecord)] {
        var found: [(name: [UInt8], tree: TreeRecord)] = []
        var open = meta.main.isEmpty ? [] : [meta.main.root]
        var seen = 0
        while let number = open.popLast() {
            let page = try page(number)
            seen += 1
            // A name takes a page at most.
            guard seen < 1_024 else { throw damage(number, "the main tree has too many pages") }
            for index in 0..<page.count {
                let node = try page.node(index)
                if page.kind == .branch {
                    open.append(node.child)
                } else if case .tree(let tree) = try node.value(number) {
                    found.append((Array(node.key), tree))
                }
            }
        }
        return found
    }

    /// Verifies a tree's branch pages and, when `isWhole`, its leaves and overflow runs.
    func verify(_ tree: TreeRecord, isWhole: Bool, _ lastPage: UInt64 = .max) throws(StoreError) {
        guard !tree.isEmpty else { return }
        try verify(tree.root, level: 1, tree, isWhole, lastPage)
    }

    private func verify(
        _ number: UInt64, level: Int, _ tree: TreeRecord, _ isWhole: Bool, _ lastPage: UInt64
    ) throws(StoreError) {
        guard number >= 2, number <= lastPage else { throw damage(number, "a tree leads to it, but it cannot be") }
        let isLeaf = level == Int(tree.depth)
        // The depth is known, so that leaves need not be touched to see that they are leaves.
        if isLeaf, !isWhole { return }
        let page = try page(number)
        guard page.kind == (isLeaf ? (tree.hasPackedLeaves ? .packedLeaf : .leaf) : .branch) else {
            throw damage(number, "not the kind of page expected \(level) levels deep in a tree of \(tree.depth)")
        }
        for index in 0..<page.count where page.kind != .packedLeaf {
            let node = try page.node(index)
            guard isLeaf else {
                try verify(node.child, level: level + 1, tree, isWhole, lastPage)
                continue
            }
            switch try node.value(number) {
            case .here, .pageInside: break
            case .run(let run): try verify(run)
            // Of the main tree these are the named ones, and looked at one by one.
            case .tree(let inner): if node.flags & Node.isMultiple != 0 { try verify(inner, isWhole: true, lastPage) }
            }
        }
    }
}
