/// A page of LMDB's file, of any kind but meta: read in place, with every offset held against the page's end.
///
/// Header: number (8 bytes), size of packed keys (2), flags (2), then the bounds of free space (2 and 2), or of an
/// overflow run its length in pages (4). Behind it the offsets of nodes, 2 bytes each, sorted by the nodes' keys, or
/// the packed keys themselves. All numbers are in the machine's byte order, as LMDB leaves them.
struct Page {
    enum Kind {
        /// Keys and the pages below.
        case branch
        /// Keys and values.
        case leaf
        /// Keys of one size without values, packed: the many values of one key.
        case packedLeaf
        /// The first page of a large value.
        case overflow
    }

    static let headerSize = 16
    static let nodeHeaderSize = 8

    let number: UInt64
    let bytes: UnsafeRawBufferPointer
    let kind: Kind
    /// Nodes or packed keys; of an overflow run its pages.
    let count: Int

    private enum Flag {
        static let branch: UInt16 = 0x01
        static let leaf: UInt16 = 0x02
        static let overflow: UInt16 = 0x04
        static let dirty: UInt16 = 0x10
        static let packed: UInt16 = 0x20
        static let sub: UInt16 = 0x40
    }

    init(_ number: UInt64, _ bytes: UnsafeRawBufferPointer) throws(StoreError) {
        let found = bytes.number(0, UInt64.self)
        guard found == number else { throw PageFile.damage(number, "it calls itself page \(found)") }
        switch bytes.number(10, UInt16.self) {
        case Flag.branch: kind = .branch
        case Flag.leaf: kind = .leaf
        case Flag.leaf | Flag.packed: kind = .packedLeaf
        case Flag.overflow: kind = .overflow
        case let flags: throw PageFile.damage(number, "its flags are \(flags), of no kind of page")
        }
        self.number = number
        self.bytes = bytes
        count = try Self.count(number, kind, bytes)
    }

    /// A page inside a leaf's node: the few values of one key.
    init(inside number: UInt64, _ bytes: UnsafeRawBufferPointer) throws(StoreError) {
        guard bytes.count >= Self.headerSize else { throw PageFile.damage(number, "a page inside it has no header") }
        let flags = bytes.number(10, UInt16.self)
        guard flags & ~Flag.dirty == Flag.leaf | Flag.packed | Flag.sub else {
            throw PageFile.damage(number, "a page inside it has flags \(flags)")
        }
        self.number = number
        self.bytes = bytes
        kind = .packedLeaf
        count = try Self.count(number, kind, bytes)
    }

    private static func count(
        _ number: UInt64, _ kind: Kind, _ bytes: UnsafeRawBufferPointer
    ) throws(StoreError) -> Int {
        if kind == .overflow {
            let pages = Int(bytes.number(12, UInt32.self))
            guard pages > 0 else { throw PageFile.damage(number, "an overflow run of no pages") }
            return pages
        }
        let lower = Int(bytes.number(12, UInt16.self))
        let upper = Int(bytes.number(14, UInt16.self))
        guard lower >= headerSize, lower <= upper, upper <= bytes.count, lower % 2 == 0 else {
            throw PageFile.damage(number, "its free space runs from \(lower) to \(upper)")
        }
        let count = (lower - headerSize) / 2
        if kind == .packedLeaf {
            let size = Int(bytes.number(8, UInt16.self))
            guard size > 0, headerSize + count * size <= bytes.count else {
                throw PageFile.damage(number, "\(count) packed keys of \(size) bytes")
            }
        }
        return count
    }

    /// A packed key.
    func packedKey(_ index: Int) -> UnsafeRawBufferPointer {
        let size = Int(bytes.number(8, UInt16.self))
        let start = Self.headerSize + index * size
        return UnsafeRawBufferPointer(rebasing: bytes[start..<(start + size)])
    }

    func isPackedKeySize(_ size: Int) -> Bool { Int(bytes.number(8, UInt16.self)) == size }

    /// The node at a place in key order.
    func node(_ index: Int) throws(StoreError) -> Node {
        let start = Int(bytes.number(Self.headerSize + 2 * index, UInt16.self))
        guard start >= Self.headerSize + 2 * count, start + Self.nodeHeaderSize <= bytes.count else {
            throw PageFile.damage(number, "node \(index) begins at \(start)")
        }
        let low = UInt64(bytes.number(start, UInt16.self))
        let high = UInt64(bytes.number(start + 2, UInt16.self))
        let flags = bytes.number(start + 4, UInt16.self)
        let keyEnd = start + Self.nodeHeaderSize + Int(bytes.number(start + 6, UInt16.self))
        guard keyEnd <= bytes.count else { throw PageFile.damage(number, "the key of node \(index) ends at \(keyEnd)") }
        let key = UnsafeRawBufferPointer(rebasing: bytes[(start + Self.nodeHeaderSize)..<keyEnd])
        if kind == .branch {
            return Node(key: key, child: low | high << 16 | UInt64(flags) << 32, flags: 0, size: 0, data: key)
        }
        let size = Int(low | high << 16)
        let end = keyEnd + (flags & Node.isLarge != 0 ? 8 : size)
        guard end <= bytes.count else { throw PageFile.damage(number, "the value of node \(index) ends at \(end)") }
        return Node(
            key: key, child: 0, flags: flags, size: size, data: UnsafeRawBufferPointer(rebasing: bytes[keyEnd..<end]))
    }

    /// Whether a leaf's node leads to other pages; quicker than to read it as a whole.
    func leadsOn(_ index: Int) throws(StoreError) -> Bool {
        let start = Int(bytes.number(Self.headerSize + 2 * index, UInt16.self))
        guard start + Self.nodeHeaderSize <= bytes.count else {
            throw PageFile.damage(number, "node \(index) begins at \(start)")
        }
        return bytes.number(start + 4, UInt16.self) & (Node.isLarge | Node.isTree) != 0
    }

    /// A key in the node's or packed place.
    func key(_ index: Int) throws(StoreError) -> UnsafeRawBufferPointer {
        kind == .packedLeaf ? packedKey(index) : try node(index).key
    }
}

/// An entry of a branch or leaf page.
struct Node {
    static let isLarge: UInt16 = 0x01
    static let isTree: UInt16 = 0x02
    static let isMultiple: UInt16 = 0x04

    let key: UnsafeRawBufferPointer
    /// Of a branch: the page below.
    let child: UInt64
    let flags: UInt16
    /// Bytes of the value, wherever it is.
    let size: Int
    /// Of a leaf: the value, or the overflow page's number, or a tree's record.
    let data: UnsafeRawBufferPointer

    /// Where the value is.
    enum Value {
        case here(UnsafeRawBufferPointer)
        /// In an overflow run that begins at this page.
        case run(UInt64)
        /// Many values, in a page inside this node.
        case pageInside(UnsafeRawBufferPointer)
        /// Many values, in a tree of their own; or in the main tree the record of a named one.
        case tree(TreeRecord)
    }

    func value(_ page: UInt64) throws(StoreError) -> Value {
        switch flags {
        case 0: return .here(data)
        case Self.isLarge: return .run(data.number(0, UInt64.self))
        case Self.isMultiple: return .pageInside(data)
        case Self.isTree, Self.isTree | Self.isMultiple:
            guard data.count == TreeRecord.size else {
                throw PageFile.damage(page, "a tree's record has \(data.count) bytes, not \(TreeRecord.size)")
            }
            return .tree(TreeRecord(data))
        default: throw PageFile.damage(page, "a node has flags \(flags)")
        }
    }
}

/// What LMDB keeps of one tree.
struct TreeRecord: Equatable {
    static let size = 48
    static let noPage = UInt64.max

    let keySize: UInt32
    let flags: UInt16
    let depth: UInt16
    let branchPages: UInt64
    let leafPages: UInt64
    let overflowPages: UInt64
    let entries: UInt64
    let root: UInt64

    init(_ bytes: UnsafeRawBufferPointer) {
        keySize = bytes.number(0, UInt32.self)
        flags = bytes.number(4, UInt16.self)
        depth = bytes.number(6, UInt16.self)
        branchPages = bytes.number(8, UInt64.self)
        leafPages = bytes.number(16, UInt64.self)
        overflowPages = bytes.number(24, UInt64.self)
        entries = bytes.number(32, UInt64.self)
        root = bytes.number(40, UInt64.self)
    }

    var isEmpty: Bool { root == Self.noPage }

    /// Whether this is the tree of one key's many values, of one size: `MDB_DUPFIXED` without `MDB_DUPSORT`.
    var hasPackedLeaves: Bool { flags & 0x14 == 0x10 }
}

extension UnsafeRawBufferPointer {
    /// A number in the machine's byte order, at any offset inside.
    @inline(__always)
    func number<N: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, _ type: N.Type) -> N {
        loadUnaligned(fromByteOffset: offset, as: type)
    }
}
