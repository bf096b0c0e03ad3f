import CLMDB
import Vocabulary

/// Reads base's trees from the file, without LMDB and without trust.
struct TreeReader {
    let file: PageFile

    init(_ file: PageFile) { self.file = file }

    /// The entry with exactly this key.
    func find(_ key: UnsafeRawBufferPointer, in tree: TreeRecord) throws(StoreError) -> (node: Node, page: UInt64)? {
        guard !tree.isEmpty else { return nil }
        let descent = try Descent(file, tree.root, .at(MDB_val(key)))
        guard descent.leaf.kind == .leaf, descent.index < descent.leaf.count else { return nil }
        let node = try descent.leaf.node(descent.index)
        return compareBytes(node.key, key) == 0 ? (node, descent.leaf.number) : nil
    }

    /// An entry's one value, wherever it is.
    func value(_ node: Node, _ page: UInt64) throws(StoreError) -> UnsafeRawBufferPointer {
        switch try node.value(page) {
        case .here(let bytes): return bytes
        case .run(let run):
            let first = try file.page(run)
            guard first.kind == .overflow, Page.headerSize + node.size <= first.count * PageFile.pageSize else {
                throw PageFile.damage(run, "it should hold a value of \(node.size) bytes")
            }
            let all = try file.bytes(run, count: first.count)
            return UnsafeRawBufferPointer(rebasing: all[Page.headerSize..<(Page.headerSize + node.size)])
        case .pageInside, .tree: throw PageFile.damage(page, "many values where one should be")
        }
    }

    /// Visits all entries in order. Pages that cannot be read are left out, as the walk over the structure has told of
    /// them; what `visit` throws becomes a finding.
    func forEach(
        _ tree: TreeRecord, _ findings: Findings, _ visit: (Node, UInt64) throws(StoreError) -> Void
    ) {
        guard !tree.isEmpty else { return }
        forEach(tree.root, level: 1, tree, findings, visit)
    }

    private func forEach(
        _ number: UInt64, level: Int, _ tree: TreeRecord, _ findings: Findings,
        _ visit: (Node, UInt64) throws(StoreError) -> Void
    ) {
        guard let page = try? file.page(number) else { return }
        guard page.kind == (level < Int(tree.depth) ? .branch : .leaf) else { return }
        for index in 0..<page.count {
            guard let node = try? page.node(index) else { continue }
            if page.kind == .branch {
                forEach(node.child, level: level + 1, tree, findings, visit)
            } else {
                findings.catching("base page \(number)") { () throws(StoreError) in try visit(node, number) }
            }
        }
    }
}

/// The versions of one key in the index, oldest first.
struct IndexedVersions {
    private let reader: TreeReader
    private let value: Node.Value
    private let page: UInt64

    init(_ reader: TreeReader, _ node: Node, _ page: UInt64) throws(StoreError) {
        self.reader = reader
        value = try node.value(page)
        self.page = page
    }

    func forEach(_ visit: (KeyRecord) throws(StoreError) -> Void) throws(StoreError) {
        switch value {
        case .here(let bytes): try visit(try Self.record(bytes))
        case .pageInside(let bytes): try forEach(try Page(inside: page, bytes), visit)
        case .tree(let tree): if !tree.isEmpty { try forEach(tree.root, level: 1, tree, visit) }
        case .run: throw PageFile.damage(page, "an overflow run in the index")
        }
    }

    private func forEach(
        _ number: UInt64, level: Int, _ tree: TreeRecord, _ visit: (KeyRecord) throws(StoreError) -> Void
    ) throws(StoreError) {
        let page = try reader.file.page(number)
        guard level < Int(tree.depth) else { return try forEach(page, visit) }
        guard page.kind == .branch else { throw PageFile.damage(number, "a \(page.kind) page above versions") }
        for index in 0..<page.count { try forEach(try page.node(index).child, level: level + 1, tree, visit) }
    }

    private func forEach(_ page: Page, _ visit: (KeyRecord) throws(StoreError) -> Void) throws(StoreError) {
        guard page.kind == .packedLeaf else { throw PageFile.damage(page.number, "a \(page.kind) page with versions") }
        for index in 0..<page.count { try visit(try Self.record(page.packedKey(index))) }
    }

    /// The newest version.
    func newest() throws(StoreError) -> KeyRecord? {
        switch value {
        case .here(let bytes): return try Self.record(bytes)
        case .pageInside(let bytes):
            let inner = try Page(inside: page, bytes)
            return inner.count > 0 ? try Self.record(inner.packedKey(inner.count - 1)) : nil
        case .tree(let tree):
            guard !tree.isEmpty else { return nil }
            let last = try Descent(reader.file, tree.root, .last).leaf
            guard last.kind == .packedLeaf, last.count > 0 else { return nil }
            return try Self.record(last.packedKey(last.count - 1))
        case .run: throw PageFile.damage(page, "an overflow run in the index")
        }
    }

    /// The version that a change made.
    func version(_ main: Revision, _ sub: UInt32) throws(StoreError) -> KeyRecord? {
        switch value {
        case .here, .pageInside:
            var found: KeyRecord?
            try forEach { record in
                if record.modRevision == main, record.modSub == sub { found = record }
            }
            return found
        case .tree(let tree):
            guard !tree.isEmpty else { return nil }
            var bound = [UInt8](repeating: 0, count: Layout.recordSize)
            bound.withUnsafeMutableBytes { bytes in
                if let address = bytes.baseAddress { Layout.storeRevisionKey(main, sub, at: address) }
            }
            return try bound.withRawBytes { bound throws(StoreError) in
                var descent = try Descent(reader.file, tree.root, .at(MDB_val(bound)))
                var index = descent.index
                if index >= descent.leaf.count {
                    guard try descent.sibling(1) != nil else { return nil }
                    index = 0
                }
                guard descent.leaf.kind == .packedLeaf, index < descent.leaf.count else { return nil }
                let record = try Self.record(descent.leaf.packedKey(index))
                return record.modRevision == main && record.modSub == sub ? record : nil
            }
        case .run: throw PageFile.damage(page, "an overflow run in the index")
        }
    }

    private static func record(_ bytes: UnsafeRawBufferPointer) throws(StoreError) -> KeyRecord {
        try Layout.record(of: MDB_val(bytes), layer: 2)
    }
}
