import CLMDB

/// Verifies what a call of LMDB is going to touch, before it does: LMDB trusts every byte, and a damaged page could make it
/// read anywhere.
///
/// What is covered. A search ends on the one leaf where its key belongs; the branch pages above were verified at
/// opening and that leaf is verified here, so what is not found there is not in the tree. When all keys of the leaf are
/// smaller, LMDB goes on to the next leaf, so that one is verified as well. The entry that LMDB stops at may have its
/// value in an overflow run, which is verified as a whole; or many values in a tree of their own, of which LMDB visits the
/// first and the last one at once: the paths there are verified. A search among these values (`coverValues`) covers its own
/// path and the leaves beside it. A step to the next entry is a search for what follows the present one.
///
/// The descent goes by the transaction's own roots. For a write transaction these are the ones it began with; a page that
/// it has rewritten is not looked at again, and one that it has not stands where it stood, as long as it only adds. What
/// removes entries must wait until all pages are verified (compaction), or verify the trees it works on as a whole
/// (records): LMDB then merges pages that no search led to.
extension BasePages {
    enum Target {
        case first
        case last
        /// The first entry at or behind a key.
        case at(MDB_val)
        /// The first entry behind a key.
        case after(MDB_val)
    }

    /// For a search in, or a step over, one of base's trees.
    func cover(_ transaction: OpaquePointer?, _ database: MDB_dbi, _ target: Target) throws(StoreError) {
        guard let tree = try tree(transaction, database), !tree.isEmpty else { return }
        var descent = try Descent(self, tree.root, target)
        if descent.index < descent.leaf.count {
            try coverValue(descent.leaf, descent.index)
        } else if let next = try descent.sibling(1), next.count > 0 {
            try coverValue(next, 0)
        }
    }

    /// For a step to the entry behind the one a cursor stands on.
    func coverNext(_ cursor: OpaquePointer?) throws(StoreError) {
        var key = MDB_val()
        var value = MDB_val()
        try check(mdb_cursor_get(cursor, &key, &value, MDB_GET_CURRENT), "mdb_cursor_get (cover)")
        try cover(mdb_cursor_txn(cursor), mdb_cursor_dbi(cursor), .after(key))
    }

    /// For a search among the many values of the key that a cursor stands on, and one step to either side.
    func coverValues(_ cursor: OpaquePointer?, at bound: MDB_val) throws(StoreError) {
        var key = MDB_val()
        var value = MDB_val()
        try check(mdb_cursor_get(cursor, &key, &value, MDB_GET_CURRENT), "mdb_cursor_get (cover)")
        guard let tree = try tree(mdb_cursor_txn(cursor), mdb_cursor_dbi(cursor)), !tree.isEmpty else { return }
        let descent = try Descent(self, tree.root, .at(key))
        guard descent.index < descent.leaf.count,
            case .tree(let values) = try descent.leaf.node(descent.index).value(descent.leaf.number)
        else { return }
        var left = try Descent(self, values.root, .at(bound))
        var right = left
        _ = try left.sibling(-1)
        _ = try right.sibling(1)
    }

    /// Verifies some of base's trees as a whole.
    func coverAll(_ transaction: OpaquePointer, _ databases: [MDB_dbi]) throws(StoreError) {
        for database in databases {
            if let tree = try tree(transaction, database) { try verify(tree, isWhole: true) }
        }
    }

    private func coverValue(_ leaf: Page, _ index: Int) throws(StoreError) {
        guard leaf.kind == .leaf else { return }
        switch try leaf.node(index).value(leaf.number) {
        case .here, .pageInside: break
        case .run(let run): try verify(run)
        case .tree(let values):
            guard !values.isEmpty else { return }
            _ = try Descent(self, values.root, .first)
            _ = try Descent(self, values.root, .last)
        }
    }

    /// A tree as the transaction found it: the main tree, verified at opening, has it under its name.
    private func tree(_ transaction: OpaquePointer?, _ database: MDB_dbi) throws(StoreError) -> TreeRecord? {
        guard let name = names[database] else { return nil }
        return try name.withRawBytes { name throws(StoreError) in
            var key = MDB_val(name)
            var value = MDB_val()
            let code = mdb_get(transaction, Self.mainDatabase, &key, &value)
            if code == MDB_NOTFOUND { return nil }
            try check(code, "mdb_get (tree)")
            guard value.mv_size == TreeRecord.size else {
                throw .corrupt(place: "base main tree", detail: "a record of \(value.mv_size) bytes")
            }
            return TreeRecord(value.bytes)
        }
    }

    /// LMDB's handle of the tree of trees.
    private static let mainDatabase: MDB_dbi = 1
}

/// Where pages come from, each verified before it is handed out, or not.
protocol PageSource {
    func page(_ number: UInt64) throws(StoreError) -> Page
}

extension PageFile: PageSource {}
extension BasePages: PageSource {}

/// The way from a root to a leaf.
struct Descent<Source: PageSource> {
    private let pages: Source
    private var path: [(page: Page, index: Int)] = []
    private(set) var leaf: Page
    /// The entry looked for; the leaf's count when it lies behind it.
    private(set) var index = 0

    init(_ pages: Source, _ root: UInt64, _ target: BasePages.Target) throws(StoreError) {
        self.pages = pages
        leaf = try pages.page(root)
        while leaf.kind == .branch {
            let below = try Self.child(leaf, target)
            path.append((leaf, below))
            guard path.count < 64 else { throw PageFile.damage(leaf.number, "pages below it lead in a circle") }
            leaf = try pages.page(try leaf.node(below).child)
        }
        guard leaf.kind != .overflow else {
            throw PageFile.damage(leaf.number, "an overflow page where a leaf should be")
        }
        index = try Self.entry(leaf, target)
    }

    /// The leaf to the left (-1) or to the right (1), verified. Moves there.
    mutating func sibling(_ step: Int) throws(StoreError) -> Page? {
        while let (page, index) = path.popLast() {
            guard (0..<page.count).contains(index + step) else { continue }
            path.append((page, index + step))
            leaf = try pages.page(try page.node(index + step).child)
            while leaf.kind == .branch, leaf.count > 0 {
                let below = step < 0 ? leaf.count - 1 : 0
                path.append((leaf, below))
                guard path.count < 64 else { throw PageFile.damage(leaf.number, "pages below it lead in a circle") }
                leaf = try pages.page(try leaf.node(below).child)
            }
            return leaf
        }
        return nil
    }

    /// The last child whose first key is not behind the target. The key of the first one is not kept.
    private static func child(_ page: Page, _ target: BasePages.Target) throws(StoreError) -> Int {
        guard page.count > 0 else { throw PageFile.damage(page.number, "a branch page without children") }
        switch target {
        case .first: return 0
        case .last: return page.count - 1
        case .at(let key), .after(let key):
            return try lowerBound(1, page.count) { index throws(StoreError) in
                compareBytes(try page.node(index).key, key.bytes) > 0
            } - 1
        }
    }

    private static func entry(_ page: Page, _ target: BasePages.Target) throws(StoreError) -> Int {
        switch target {
        case .first: return 0
        case .last: return max(0, page.count - 1)
        case .at(let key):
            return try lowerBound(0, page.count) { index throws(StoreError) in
                compareBytes(try page.key(index), key.bytes) >= 0
            }
        case .after(let key):
            return try lowerBound(0, page.count) { index throws(StoreError) in
                compareBytes(try page.key(index), key.bytes) > 0
            }
        }
    }

    /// The first index for which `isBehind` holds, which it does for all after it too.
    private static func lowerBound(
        _ start: Int, _ end: Int, _ isBehind: (Int) throws(StoreError) -> Bool
    ) throws(StoreError) -> Int {
        var (low, high) = (start, end)
        while low < high {
            let middle = (low + high) / 2
            if try isBehind(middle) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
