/// Walks all trees of base from their roots: every page once, of the right kind, with its checksum, its keys in order and
/// between those of the page above; then the list of free pages, which must name all others.
///
/// A page that is damaged is a finding, and what hangs below it is left out; the walk goes on beside it.
struct StructureCheck {
    private let file: PageFile
    private let meta: MetaPage
    private let sums: StoredSums
    private let findings: Findings
    private var seen: [UInt64]
    private var seenCount = 0
    private var verified = 0
    /// The named trees.
    private(set) var trees: [String: TreeRecord] = [:]
    /// Some page was met twice: a walk that does not keep account of pages could take very long.
    private(set) var isTangled = false

    /// What a tree's pages must be like.
    private struct Shape {
        let name: String
        let depth: Int
        var hasPackedLeaves = false
        var isFreeList = false
        /// Keys may have many values.
        var hasMultiples = false
    }

    private struct Counts {
        var branches: UInt64 = 0
        var leaves: UInt64 = 0
        var overflows: UInt64 = 0
        var entries: UInt64 = 0
    }

    init(_ file: PageFile, _ meta: MetaPage, _ sums: StoredSums, _ findings: Findings) {
        self.file = file
        self.meta = meta
        self.sums = sums
        self.findings = findings
        seen = [UInt64](repeating: 0, count: Int(min(meta.lastPage, UInt64(file.pageCount) + 1 << 20)) / 64 + 1)
    }

    mutating func run(
        _ report: inout StoreCheck.Report, _ progress: (StoreCheck.Progress) -> Void
    ) throws(StoreError) {
        let total = Int(meta.lastPage) - 1
        // The meta pages are in use.
        for page in 0..<2 { _ = mark(UInt64(page)) }
        seenCount = 0
        check(meta.free, Shape(name: "free list", depth: Int(meta.free.depth), isFreeList: true))
        check(meta.main, Shape(name: "main tree", depth: Int(meta.main.depth)))
        for (name, tree) in trees.sorted(by: { $0.key < $1.key }) {
            check(tree, Shape(name: name, depth: Int(tree.depth), hasMultiples: tree.flags & 0x04 != 0))
            progress(.init(stage: .pages, done: seenCount, total: total))
        }
        report.usedPages = seenCount
        report.verifiedPages = verified
        report.freePages = checkFree()
        let lost = total - seenCount
        if lost > 0 {
            findings.add("base", "\(lost) pages are neither in use nor free, the first is page \(firstUnseen)")
        }
        progress(.init(stage: .pages, done: total, total: total))
    }

    private mutating func check(_ tree: TreeRecord, _ shape: Shape) {
        guard !tree.isEmpty else {
            if tree.entries != 0 { findings.add("base \(shape.name)", "no page, but \(tree.entries) entries") }
            return
        }
        let before = findings.list.count + findings.omitted
        var counts = Counts()
        check(tree.root, level: 1, shape, from: nil, to: nil, &counts)
        // With damage below, the counts cannot be right.
        guard findings.list.count + findings.omitted == before else { return }
        for (what, found, kept) in [
            ("branch pages", counts.branches, tree.branchPages), ("leaf pages", counts.leaves, tree.leafPages),
            ("overflow pages", counts.overflows, tree.overflowPages), ("entries", counts.entries, tree.entries),
        ] where found != kept {
            findings.add("base \(shape.name)", "\(found) \(what), but its record says \(kept)")
        }
    }

    private mutating func check(
        _ number: UInt64, level: Int, _ shape: Shape, from low: UnsafeRawBufferPointer?,
        to high: UnsafeRawBufferPointer?, _ counts: inout Counts
    ) {
        do throws(StoreError) {
            guard mark(number) else { return }
            let page = try file.page(number)
            compareSum(number, page.bytes)
            let isLeaf = level >= shape.depth
            let expected: Page.Kind = isLeaf ? (shape.hasPackedLeaves ? .packedLeaf : .leaf) : .branch
            guard page.kind == expected else {
                throw PageFile.damage(
                    number, "a \(page.kind) page at level \(level) of \(shape.depth) of \(shape.name)")
            }
            if isLeaf { counts.leaves += 1 } else { counts.branches += 1 }
            guard page.count > 0 else { throw PageFile.damage(number, "an empty page of \(shape.name)") }
            try checkOrder(page, shape, from: low, to: high)
            switch page.kind {
            case .branch:
                for index in 0..<page.count {
                    let node = try page.node(index)
                    let above = index + 1 < page.count ? try page.node(index + 1).key : high
                    check(
                        node.child, level: level + 1, shape, from: index == 0 ? low : node.key, to: above, &counts)
                }
            case .leaf:
                for index in 0..<page.count { checkEntry(try page.node(index), number, shape, &counts) }
            case .packedLeaf: counts.entries += UInt64(page.count)
            case .overflow: break
            }
        } catch {
            note(error)
        }
    }

    private func checkOrder(
        _ page: Page, _ shape: Shape, from low: UnsafeRawBufferPointer?, to high: UnsafeRawBufferPointer?
    ) throws(StoreError) {
        // The first key of a branch page is not kept.
        let first = page.kind == .branch ? 1 : 0
        var previous = low
        for index in first..<max(first, page.count) {
            let key = try page.key(index)
            if let previous {
                let order = compare(previous, key, shape)
                guard order < 0 || order == 0 && index == first else {
                    throw PageFile.damage(page.number, "key \(index) of \(shape.name) is not behind the one before")
                }
            }
            previous = key
        }
        if let high, let previous, page.count > first, compare(previous, high, shape) >= 0 {
            throw PageFile.damage(page.number, "its last key of \(shape.name) belongs on a later page")
        }
    }

    private func compare(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer, _ shape: Shape) -> Int {
        guard shape.isFreeList else { return compareBytes(a, b) }
        guard a.count == 8, b.count == 8 else { return 1 }
        let (left, right) = (a.number(0, UInt64.self), b.number(0, UInt64.self))
        return left < right ? -1 : left == right ? 0 : 1
    }

    private mutating func checkEntry(_ node: Node, _ number: UInt64, _ shape: Shape, _ counts: inout Counts) {
        do throws(StoreError) {
            let value = try node.value(number)
            switch value {
            case .here: counts.entries += 1
            case .run(let run):
                counts.entries += 1
                counts.overflows += try checkRun(run, node.size)
            case .pageInside(let bytes):
                let inner = try Page(inside: number, bytes)
                guard shape.hasMultiples, inner.count > 0 else {
                    throw PageFile.damage(number, "\(shape.name) has a page inside a node")
                }
                try checkOrder(inner, Shape(name: shape.name, depth: 1, hasPackedLeaves: true), from: nil, to: nil)
                counts.entries += UInt64(inner.count)
            case .tree(let tree) where shape.hasMultiples:
                counts.entries += tree.entries
                check(tree, Shape(name: shape.name + " versions", depth: Int(tree.depth), hasPackedLeaves: true))
            case .tree(let tree):
                guard shape.name == "main tree" else { throw PageFile.damage(number, "\(shape.name) has a tree in it") }
                counts.entries += 1
                trees[String(decoding: node.key, as: UTF8.self)] = tree
            }
        } catch {
            note(error)
        }
    }

    private mutating func checkRun(_ run: UInt64, _ size: Int) throws(StoreError) -> UInt64 {
        guard mark(run) else { return 0 }
        let page = try file.page(run)
        guard page.kind == .overflow, page.count == (Page.headerSize - 1 + size) / PageFile.pageSize + 1 else {
            throw PageFile.damage(run, "\(page.count) pages at a \(page.kind) page for a value of \(size) bytes")
        }
        for rest in 1..<max(1, UInt64(page.count)) { _ = mark(run + rest) }
        compareSum(run, try file.bytes(run, count: page.count))
        return UInt64(page.count)
    }

    private mutating func compareSum(_ number: UInt64, _ bytes: UnsafeRawBufferPointer) {
        let expected = sums[number]
        guard expected != 0 else {
            if sums.isComplete { findings.add("base page \(number)", "it has no checksum") }
            return
        }
        verified += bytes.count / PageFile.pageSize
        let found = BasePages.sum(bytes)
        guard found != expected else { return }
        findings.add(
            "base page \(number)",
            "its checksum is \(String(found, radix: 16)), expected \(String(expected, radix: 16))")
    }

    /// Marks a page as met. False, and a finding: it was before, or cannot be.
    private mutating func mark(_ page: UInt64) -> Bool {
        guard page <= meta.lastPage, Int(page / 64) < seen.count else {
            findings.add("base page \(page)", "it is in use, but the last page is \(meta.lastPage)")
            return false
        }
        let bit = UInt64(1) << (page % 64)
        guard seen[Int(page / 64)] & bit == 0 else {
            findings.add("base page \(page)", "it is used twice, or used and free")
            isTangled = true
            return false
        }
        seen[Int(page / 64)] |= bit
        seenCount += 1
        return true
    }

    private var firstUnseen: UInt64 {
        for (word, bits) in seen.enumerated() where bits != .max {
            return UInt64(word * 64 + (~bits).trailingZeroBitCount)
        }
        return meta.lastPage + 1
    }

    /// Marks all free pages; returns how many there are.
    private mutating func checkFree() -> Int {
        let before = seenCount
        let reader = TreeReader(file)
        reader.forEach(meta.free, findings) { (node, number) throws(StoreError) in
            var previous = UInt64.max
            for page in try FreeList(value: try reader.value(node, number), number) {
                if page >= previous {
                    findings.add("base page \(number)", "its list of free pages is not in order at page \(page)")
                }
                previous = page
                _ = mark(page)
            }
        }
        return seenCount - before
    }

    private func note(_ error: StoreError) {
        guard case .corrupt(let place, let detail) = error else { return findings.add("base", "\(error)") }
        findings.add(place, detail)
    }
}
