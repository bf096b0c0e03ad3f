// Sums of what a transaction wrote. On the thread that writes base, or that opens it.
extension BasePages {
    /// Deeper than any tree of LMDB's can be: damage that leads in a circle ends here.
    private static let depthLimit = 64

    /// Takes the sums of pages that have none and can be reached, and forgets those of the pages that the newest
    /// transaction freed.
    ///
    /// When it fails half-way it can be done again: a page has its sum only after all pages below it have theirs.
    func update(_ metas: MetaPages) throws(StoreError) {
        try file.refresh()
        for tree in [metas.newest.free, metas.newest.main] where !tree.isEmpty { try take(tree.root, 0) }
        try forEachFreeList(metas.newest.free, from: metas.newest.transactionID) { page throws(StoreError) in
            try sums.set(page, 0)
        }
    }

    /// Takes the sums of all pages in use.
    func takeAll(_ metas: MetaPages) throws(StoreError) {
        for tree in [metas.newest.free, metas.newest.main] where !tree.isEmpty { try take(tree.root, 0) }
    }

    /// After a crash between a commit and its sums: which pages were free before that commit is known for sure, and what
    /// the file says of them is not.
    func forgetWhatWasFree(before metas: MetaPages) throws(StoreError) {
        try forEachFreeList(metas.older.free, from: 0) { page throws(StoreError) in try sums.set(page, 0) }
        try sums.clear(from: metas.older.lastPage + 1)
    }

    private func take(_ number: UInt64, _ depth: Int) throws(StoreError) {
        guard sums[number] == 0 else { return }
        guard depth < Self.depthLimit else { throw damage(number, "pages below it lead in a circle") }
        let page = try file.page(number)
        switch page.kind {
        case .branch:
            for index in 0..<page.count { try take(try page.node(index).child, depth + 1) }
        case .leaf:
            for index in 0..<page.count where try page.leadsOn(index) {
                switch try page.node(index).value(number) {
                case .here, .pageInside: break
                case .run(let run): try takeRun(run)
                case .tree(let tree): if !tree.isEmpty { try take(tree.root, depth + 1) }
                }
            }
        case .packedLeaf: break
        case .overflow: throw damage(number, "an overflow page where a tree's page should be")
        }
        try sums.set(number, Self.sum(page.bytes))
        markVerified(number)
    }

    private func takeRun(_ number: UInt64) throws(StoreError) {
        guard sums[number] == 0 else { return }
        let page = try file.page(number)
        guard page.kind == .overflow else { throw damage(number, "no overflow page where a large value should be") }
        try sums.set(number, Self.sum(try file.bytes(number, count: page.count)))
        markVerified(number)
    }

    /// Visits the pages that transactions from one on have freed, and that are still free.
    ///
    /// The list of free pages is a tree from transaction to how many pages it freed and their numbers, 8 bytes each.
    func forEachFreeList(
        _ tree: TreeRecord, from first: UInt64, _ visit: (UInt64) throws(StoreError) -> Void
    ) throws(StoreError) {
        guard !tree.isEmpty else { return }
        try forEachFreeList(tree.root, from: first, 0, visit)
    }

    private func forEachFreeList(
        _ number: UInt64, from first: UInt64, _ depth: Int, _ visit: (UInt64) throws(StoreError) -> Void
    ) throws(StoreError) {
        guard depth < Self.depthLimit else { throw damage(number, "pages below it lead in a circle") }
        let page = try page(number)
        for index in 0..<page.count {
            let node = try page.node(index)
            if page.kind == .branch {
                // Behind this child, the next one may begin at or before what is looked for.
                if index + 1 < page.count, try transactionID(of: page.node(index + 1), number) <= first { continue }
                try forEachFreeList(node.child, from: first, depth + 1, visit)
            } else if try transactionID(of: node, number) >= first {
                for page in try freeList(node, number) { try visit(page) }
            }
        }
    }

    private func transactionID(of node: Node, _ page: UInt64) throws(StoreError) -> UInt64 {
        guard node.key.count == 8 else { throw damage(page, "a transaction's number of \(node.key.count) bytes") }
        return node.key.number(0, UInt64.self)
    }

    /// The pages of one record of the list of free pages.
    func freeList(_ node: Node, _ number: UInt64) throws(StoreError) -> FreeList {
        let bytes: UnsafeRawBufferPointer
        switch try node.value(number) {
        case .here(let here): bytes = here
        case .run(let run):
            let first = try page(run)
            guard first.kind == .overflow, Page.headerSize + node.size <= first.count * PageFile.pageSize else {
                throw damage(run, "it should hold \(node.size) bytes of the list of free pages")
            }
            let all = try file.bytes(run, count: first.count)
            bytes = UnsafeRawBufferPointer(rebasing: all[Page.headerSize..<(Page.headerSize + node.size)])
        case .pageInside, .tree: throw damage(number, "the list of free pages has a tree in it")
        }
        return try FreeList(value: bytes, number)
    }
}

/// Numbers of free pages, as LMDB keeps them: how many, then the numbers in descending order.
struct FreeList: Sequence, IteratorProtocol {
    private let bytes: UnsafeRawBufferPointer
    private var position = 0

    /// - Parameter page: where the record stands.
    init(value: UnsafeRawBufferPointer, _ page: UInt64) throws(StoreError) {
        guard value.count >= 8, value.number(0, UInt64.self) <= UInt64(value.count / 8 - 1) else {
            throw PageFile.damage(page, "a list of free pages of \(value.count) bytes")
        }
        bytes = value
    }

    var count: Int { Int(bytes.number(0, UInt64.self)) }

    mutating func next() -> UInt64? {
        guard position < count else { return nil }
        position += 1
        return bytes.number(8 * position, UInt64.self)
    }
}
