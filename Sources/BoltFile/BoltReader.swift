/// Reads a bbolt file that may be anything: each page is looked over before it is believed, none is read twice, and what
/// is held of the file is a path through one of its trees. It ends with every file, in time linear in its size.
///
/// Used by one thread at a time.
public final class BoltReader {
    /// A tree of entries.
    public struct Bucket: Sendable {
        /// Its name.
        public let name: [UInt8]
        /// Zero where it lies inside the page that names it.
        fileprivate let root: UInt64
        fileprivate let inline: [UInt8]
        fileprivate let holder: UInt64
        /// For messages and comparisons; not all names are UTF-8.
        public var text: String { String(decoding: name, as: UTF8.self) }
    }

    /// What is held of a file's root is bounded by this; etcd has some ten buckets.
    private static let mostBuckets = 1_000

    /// The file's buckets, in the order of their names.
    public let buckets: [Bucket]
    /// Bytes of its pages, without what stands behind them.
    public var usedBytes: Int { Int(meta.pageCount) * pages.size }
    /// Bytes of a page.
    public var pageSize: Int { pages.size }

    private let meta: BoltMeta
    private let pages: BoltPages

    /// Reads meta pages and root.
    public init(_ bytes: any BoltBytes) throws(BoltError) {
        let (meta, pageSize) = try Self.meta(of: bytes)
        self.meta = meta
        guard meta.pageCount <= UInt64(bytes.count / pageSize) else {
            let (expected, overflows) = meta.pageCount.multipliedReportingOverflow(by: UInt64(pageSize))
            throw .truncated(size: bytes.count, expected: overflows ? .max : expected)
        }
        pages = BoltPages(bytes, size: pageSize, count: meta.pageCount)
        var found: [Bucket] = []
        let cursor = try BoltCursor(pages, root: meta.root, namedBy: 0)
        while try cursor.next() {
            guard cursor.isBucket, cursor.value.count >= BoltFormat.bucketSize else {
                throw .damaged(page: cursor.page, detail: "there is an entry beside the buckets that is none")
            }
            let root = cursor.value.number(0, UInt64.self)
            let inline = root == 0 ? Array(cursor.value.dropFirst(BoltFormat.bucketSize)) : []
            guard found.count < Self.mostBuckets, inline.count <= pageSize else {
                throw .damaged(
                    page: cursor.page,
                    detail: "there are more than \(Self.mostBuckets) buckets, or one of \(inline.count) bytes inside it"
                )
            }
            found.append(Bucket(name: Array(cursor.key), root: root, inline: inline, holder: cursor.page))
        }
        buckets = found
    }

    /// The entries of a bucket. Each bucket can be read once: a page that is met again is damage.
    public func entries(of bucket: Bucket) throws(BoltError) -> BoltCursor {
        guard bucket.root == 0 else { return try BoltCursor(pages, root: bucket.root, namedBy: bucket.holder) }
        return BoltCursor(pages, try BoltPage(inline: bucket.inline, in: bucket.holder))
    }

    /// Whether a file looks like one of bbolt's, from its first bytes; those of page 1 are not looked at.
    public static func isBolt(_ beginning: [UInt8]) -> Bool {
        beginning.count >= BoltFormat.headerSize + 4
            && beginning.withUnsafeBytes { $0.number(BoltFormat.headerSize, UInt32.self) } == BoltFormat.magic
    }

    /// The valid meta page of the later transaction. The second one stands where the page size puts it.
    private static func meta(of bytes: any BoltBytes) throws(BoltError) -> (BoltMeta, pageSize: Int) {
        var best: (meta: BoltMeta, size: Int)?
        for (index, offset) in ([0] + BoltFormat.pageSizes).enumerated() {
            guard offset + BoltFormat.headerSize + BoltFormat.metaSize <= bytes.count else { break }
            var page = [UInt8](repeating: 0, count: BoltFormat.headerSize + BoltFormat.metaSize)
            var failure: BoltError?
            page.withUnsafeMutableBytes { buffer in
                do throws(BoltError) { try bytes.read(at: offset, into: buffer) } catch { failure = error }
            }
            if let failure { throw failure }
            let meta = page.withUnsafeBytes {
                BoltMeta(UnsafeRawBufferPointer(rebasing: $0[BoltFormat.headerSize...]))
            }
            guard let meta, BoltFormat.pageSizes.contains(Int(meta.pageSize)),
                index == 0 || Int(meta.pageSize) == offset
            else { continue }
            if let found = best, found.meta.transaction >= meta.transaction { continue }
            best = (meta, Int(meta.pageSize))
        }
        guard let best else { throw .foreign }
        return (best.meta, best.size)
    }
}

/// A file's pages, each of which is given out once.
final class BoltPages {
    let size: Int
    let count: UInt64
    private let bytes: any BoltBytes
    /// A bit a page.
    private var met: [UInt64]

    init(_ bytes: any BoltBytes, size: Int, count: UInt64) {
        self.bytes = bytes
        self.size = size
        self.count = count
        met = [UInt64](repeating: 0, count: Int(count / 64) + 1)
    }

    /// - Parameter parent: the page that names it.
    func page(_ number: UInt64, from parent: UInt64) throws(BoltError) -> BoltPage {
        guard number >= 2, number < count else {
            throw .damaged(page: parent, detail: "it leads to page \(number), and there are \(count)")
        }
        try meet(number, parent)
        let page = try BoltPage(number, of: bytes, pageSize: size, pageCount: count)
        for overflow in 0..<page.overflow { try meet(number + 1 + overflow, number) }
        return page
    }

    private func meet(_ number: UInt64, _ parent: UInt64) throws(BoltError) {
        let (word, bit) = (Int(number / 64), UInt64(1) << (number % 64))
        guard met[word] & bit == 0 else {
            throw .damaged(page: parent, detail: "it leads to page \(number), which is part of something else already")
        }
        met[word] |= bit
    }
}

/// Walks the entries of a tree in their order. `key` and `value` are valid until the next step.
public final class BoltCursor {
    /// Branches from the root to a leaf, at most: bbolt's trees of any size have fewer.
    private static let deepest = 32

    private let pages: BoltPages
    /// The branches above the leaf, each with the child that comes next.
    private var path: [(page: BoltPage, next: Int)] = []
    private var leaf: BoltPage?
    private var index = -1
    private var lastKey: [UInt8] = []
    private var hasLast = false

    init(_ pages: BoltPages, root: UInt64, namedBy parent: UInt64) throws(BoltError) {
        self.pages = pages
        try descend(to: try pages.page(root, from: parent), bound: nil)
    }

    init(_ pages: BoltPages, _ leaf: BoltPage) {
        self.pages = pages
        self.leaf = leaf
    }

    /// The present entry's key.
    public var key: UnsafeRawBufferPointer {
        leaf.map { $0.key(index) } ?? UnsafeRawBufferPointer(start: nil, count: 0)
    }

    /// The present entry's value.
    public var value: UnsafeRawBufferPointer {
        leaf.map { $0.value(index) } ?? UnsafeRawBufferPointer(start: nil, count: 0)
    }

    /// Whether the present entry is a bucket.
    public var isBucket: Bool { leaf?.isBucket(index) ?? false }

    /// The page it stands on.
    public var page: UInt64 { leaf?.number ?? 0 }

    /// Goes to the next entry; false at the end. To be called before the first one.
    public func next() throws(BoltError) -> Bool {
        while let leaf {
            index += 1
            if index < leaf.count { return true }
            if leaf.count > 0 {
                lastKey = Array(leaf.key(leaf.count - 1))
                hasLast = true
            }
            index = -1
            self.leaf = nil
            try goOn()
        }
        return false
    }

    /// Goes to the next leaf, if there is one.
    private func goOn() throws(BoltError) {
        while let (page, next) = path.last {
            guard next < page.count else {
                path.removeLast()
                continue
            }
            path[path.count - 1].next += 1
            return try descend(to: try pages.page(page.child(next), from: page.number), bound: page.key(next))
        }
    }

    /// - Parameter bound: the key under which the page is named: its own begin there or behind.
    private func descend(to start: BoltPage, bound name: UnsafeRawBufferPointer?) throws(BoltError) {
        var page = start
        var bound = name
        while true {
            if page.count > 0 {
                if let bound, order(bound, page.key(0)) > 0 {
                    throw page.damaged("its first key comes before the one it is named by")
                }
                if hasLast, lastKey.withUnsafeBytes({ order($0, page.key(0)) >= 0 }) {
                    throw page.damaged("its first key does not come behind those of the page before it")
                }
            } else if !path.isEmpty {
                throw page.damaged("it is an empty leaf below a branch")
            }
            guard !page.isLeaf else {
                leaf = page
                return
            }
            guard path.count < Self.deepest else { throw page.damaged("it is more than \(Self.deepest) branches deep") }
            path.append((page, 1))
            bound = page.key(0)
            page = try pages.page(page.child(0), from: page.number)
        }
    }
}
