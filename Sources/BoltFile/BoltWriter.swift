/// Makes a bbolt file from entries that come in order, in two passes: the first one looks at sizes alone and gives a plan,
/// the second one, over the same entries, makes the bytes from the first to the last. So a file of any size can be sent
/// as it is made: only its meta pages, which come first, need to know how it ends.
///
/// ```
/// var plan = BoltWriter()
/// fill(&plan)                                  // beginBucket, add …, endBucket, for each bucket
/// var writer = BoltWriter(try plan.finish())
/// fill(&writer)                                // and send(writer.take()) whenever there is something
/// _ = try writer.finish()
/// ```
///
/// Pages stand in the order in which they become full: leaves, and between them a branch page as soon as it has all its
/// children. Memory: one page a level of the tree, the largest entry, and what was not taken yet.
///
/// Each branch has two children at least, as bbolt takes for granted when it deletes entries.
public struct BoltWriter {
    /// Bytes of a file's pages.
    public static let pageSize = BoltFormat.pageSize

    private struct Child {
        let key: [UInt8]
        let page: UInt64
        var size: Int { BoltFormat.elementSize + key.count }
    }

    private struct Entry {
        let flags: UInt32
        let keyCount: Int
        let valueCount: Int
    }

    private static let room = BoltFormat.pageSize - BoltFormat.headerSize
    /// Meta pages and the freelist, which is empty.
    private static let firstPage: UInt64 = 3
    private static let freelistPage: UInt64 = 2

    private let plan: BoltPlan?
    private var output: [UInt8] = []
    /// Bytes of the file that are not in `output` any more.
    private var taken = 0
    private var nextPage = Self.firstPage

    private var bucket: [UInt8] = []
    private var isInBucket = false
    private var buckets: [(name: [UInt8], root: UInt64)] = []

    /// The leaf that is being filled.
    private var entries: [Entry] = []
    private var leafBytes: [UInt8] = []
    private var leafSize = 0
    private var firstKey: [UInt8] = []
    private var lastKey: [UInt8] = []
    /// Children that have no branch page yet, level by level from the leaves up.
    private var levels: [[Child]] = []

    /// Plans a file.
    public init() { plan = nil }

    /// Writes a file that was planned. The same entries must come as before.
    public init(_ plan: BoltPlan) {
        self.plan = plan
        for number in [UInt64(0), 1] {
            let meta = BoltMeta(
                pageSize: UInt32(BoltFormat.pageSize), root: plan.root, freelist: Self.freelistPage,
                pageCount: plan.pageCount, transaction: number)
            begin(number, .meta, count: 0, overflow: 0)
            output.append(contentsOf: meta.encoded)
            fill()
        }
        begin(Self.freelistPage, .freelist, count: 0, overflow: 0)
        fill()
    }

    /// Bytes of the file that were made and not taken yet.
    public var pendingBytes: Int { output.count }

    /// Takes what was made so far, the beginning of it where a number is given.
    public mutating func take(_ count: Int? = nil) -> [UInt8] {
        let count = min(count ?? output.count, output.count)
        taken += count
        guard count < output.count else {
            defer { output = [] }
            return output
        }
        defer { output.removeFirst(count) }
        return Array(output[..<count])
    }

    /// Begins a bucket. Buckets come in the order of their names.
    public mutating func beginBucket(_ name: String) throws(BoltError) {
        precondition(!isInBucket, "buckets are not nested here")
        let bytes = Array(name.utf8)
        guard (1...BoltFormat.largestKey).contains(bytes.count) else {
            throw .keySize(bucket: name, count: bytes.count)
        }
        if let last = buckets.last, !last.name.lexicographicallyPrecedes(bytes) { throw .outOfOrder(bucket: name) }
        bucket = bytes
        isInBucket = true
        lastKey = []
        levels = []
    }

    /// Adds an entry to the open bucket. Entries come in the order of their keys. A plan looks at the value's size alone.
    public mutating func add(key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) throws(BoltError) {
        precondition(isInBucket, "an entry belongs to a bucket")
        guard (1...BoltFormat.largestKey).contains(key.count) else {
            throw .keySize(bucket: bucketName, count: key.count)
        }
        guard lastKey.withUnsafeBytes({ order($0, key) < 0 }) else { throw .outOfOrder(bucket: bucketName) }
        lastKey.removeAll(keepingCapacity: true)
        lastKey.append(contentsOf: key)
        let size = BoltFormat.elementSize + key.count + value.count
        if !entries.isEmpty, leafSize + size > Self.room { endLeaf() }
        if entries.isEmpty { firstKey = lastKey }
        append(0, key, value)
    }

    /// Ends the open bucket.
    public mutating func endBucket() {
        precondition(isInBucket, "no bucket is open")
        isInBucket = false
        buckets.append((bucket, endTree()))
    }

    /// Ends the file.
    ///
    /// - Returns: what the file looks like: of a plan, what to write it with.
    /// - Throws: `notAsPlanned` when other entries came than before; the bytes are worth nothing then.
    public mutating func finish() throws(BoltError) -> BoltPlan {
        precondition(!isInBucket, "a bucket is open")
        levels = []
        // A file has few buckets: they stay together on one page, which overflows if need be.
        firstKey = buckets.first?.name ?? []
        for (name, root) in buckets {
            var header: [UInt8] = []
            header.append(number: root)
            header.append(number: UInt64(0))
            name.withUnsafeBytes { name in
                header.withUnsafeBytes { append(BoltFormat.bucketFlag, name, $0) }
            }
        }
        let found = BoltPlan(root: endTree(), pageCount: nextPage)
        if let plan, plan != found { throw .notAsPlanned }
        return found
    }

    private var bucketName: String { String(decoding: bucket, as: UTF8.self) }

    // MARK: - Trees

    private mutating func append(_ flags: UInt32, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
        entries.append(Entry(flags: flags, keyCount: key.count, valueCount: value.count))
        leafSize += BoltFormat.elementSize + key.count + value.count
        guard plan != nil else { return }
        leafBytes.append(contentsOf: key)
        leafBytes.append(contentsOf: value)
    }

    /// Writes what is left of a tree, level by level, and gives its root.
    private mutating func endTree() -> UInt64 {
        if !entries.isEmpty || levels.isEmpty { endLeaf() }
        var level = 0
        while level < levels.count {
            let children = levels[level]
            if level == levels.count - 1, children.count == 1 { return children[0].page }
            let count = branchCount(children, leaving: 0)
            endBranch(level, count)
            if count == children.count { level += 1 }
        }
        preconditionFailure("each level leads to one above it")
    }

    private mutating func endLeaf() {
        let pages = Self.pages(leafSize)
        let page = nextPage
        nextPage += UInt64(pages)
        if plan != nil {
            begin(page, .leaf, count: entries.count, overflow: pages - 1)
            var data = entries.count * BoltFormat.elementSize
            for (number, entry) in entries.enumerated() {
                output.append(number: entry.flags)
                // From the element's own place.
                output.append(number: UInt32(data - number * BoltFormat.elementSize))
                output.append(number: UInt32(entry.keyCount))
                output.append(number: UInt32(entry.valueCount))
                data += entry.keyCount + entry.valueCount
            }
            output.append(contentsOf: leafBytes)
            fill()
        }
        entries.removeAll(keepingCapacity: true)
        leafBytes.removeAll(keepingCapacity: true)
        leafSize = 0
        add(Child(key: firstKey, page: page), to: 0)
    }

    /// A page waits for its parent, and fills that up when it is enough.
    private mutating func add(_ child: Child, to level: Int) {
        if level == levels.count { levels.append([]) }
        levels[level].append(child)
        // Two always stay behind, so that what comes last has no branch of its own for one child.
        let count = branchCount(levels[level], leaving: 2)
        if count >= 2, levels[level].reduce(0, { $0 + $1.size }) > Self.room { endBranch(level, count) }
    }

    /// How many of the children go on one page: as many as fit, and two at least; zero when they should wait for more.
    private func branchCount(_ children: [Child], leaving rest: Int) -> Int {
        var size = 0
        var fitting = 0
        for child in children {
            size += child.size
            if size > Self.room { break }
            fitting += 1
        }
        if fitting == children.count { return rest == 0 ? fitting : 0 }
        fitting = max(2, fitting)
        if rest > 0 { return children.count - fitting >= rest ? fitting : 0 }
        // The last two pages of a level share what is left.
        fitting = min(fitting, children.count - 2)
        return fitting >= 2 ? fitting : children.count
    }

    private mutating func endBranch(_ level: Int, _ count: Int) {
        let children = levels[level].prefix(count)
        levels[level].removeFirst(count)
        let size = children.reduce(0) { $0 + $1.size }
        let pages = Self.pages(size)
        let page = nextPage
        nextPage += UInt64(pages)
        if plan != nil {
            begin(page, .branch, count: count, overflow: pages - 1)
            var data = count * BoltFormat.elementSize
            for (number, child) in children.enumerated() {
                output.append(number: UInt32(data - number * BoltFormat.elementSize))
                output.append(number: UInt32(child.key.count))
                output.append(number: child.page)
                data += child.key.count
            }
            for child in children { output.append(contentsOf: child.key) }
            fill()
        }
        if let first = children.first { add(Child(key: first.key, page: page), to: level + 1) }
    }

    // MARK: - Pages

    private static func pages(_ size: Int) -> Int {
        max(1, (BoltFormat.headerSize + size + BoltFormat.pageSize - 1) / BoltFormat.pageSize)
    }

    private mutating func begin(_ page: UInt64, _ kind: BoltFormat.Kind, count: Int, overflow: Int) {
        output.append(number: page)
        output.append(number: kind.rawValue)
        output.append(number: UInt16(count))
        output.append(number: UInt32(overflow))
    }

    /// Fills the page up.
    private mutating func fill() {
        let rest = (taken + output.count) % BoltFormat.pageSize
        if rest > 0 { output.append(contentsOf: repeatElement(0, count: BoltFormat.pageSize - rest)) }
    }
}
