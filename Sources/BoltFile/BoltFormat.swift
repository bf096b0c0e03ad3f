/// bbolt's file, the one etcd keeps its store in and hands out as a snapshot: pages of a fixed size, numbered from zero.
/// Pages 0 and 1 are meta pages, of which the valid one with the higher transaction number counts; it leads to the root,
/// a B+ tree whose values are buckets, which are B+ trees again. All numbers are little-endian. An entry that does not
/// fit a page makes that page longer: the pages behind it are its overflow.
///
/// This module reads and writes such files and knows nothing of what is in them. It must never trust a byte it reads, nor
/// hold more of a file than a path through its trees.
///
/// Source: the layout of go.etcd.io/bbolt, versions 1.3 and 1.4, which write the same bytes.
enum BoltFormat {
    static let magic: UInt32 = 0xed0c_daed
    static let version: UInt32 = 2
    /// What etcd's files have on most machines, and what is written here.
    static let pageSize = 4096
    /// bbolt takes the page size of the machine that made the file.
    static let pageSizes = [1024, 2048, 4096, 8192, 16_384, 32_768, 65_536]
    /// id (8), flags (2), count (2), overflow (4).
    static let headerSize = 16
    /// Of an entry: flags (4), position (4), sizes of key and value (4, 4); or position (4), size of the key (4), page (8).
    static let elementSize = 16
    static let metaSize = 64
    /// Of a bucket: root page (8), sequence (8).
    static let bucketSize = 16
    static let largestKey = 32_768
    /// The freelist's page where the file has none.
    static let noFreelist = UInt64.max
    static let bucketFlag: UInt32 = 1

    enum Kind: UInt16 {
        case branch = 0x01
        case leaf = 0x02
        case meta = 0x04
        case freelist = 0x10
    }
}

/// What a meta page says, behind the page's header.
struct BoltMeta: Hashable {
    var pageSize: UInt32
    var root: UInt64
    var freelist: UInt64
    /// Pages there are: the first number that was never given out.
    var pageCount: UInt64
    var transaction: UInt64

    /// 64 bytes; the last 8 are the checksum of the others.
    var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(number: BoltFormat.magic)
        bytes.append(number: BoltFormat.version)
        bytes.append(number: pageSize)
        bytes.append(number: UInt32(0))
        bytes.append(number: root)
        bytes.append(number: UInt64(0))
        bytes.append(number: freelist)
        bytes.append(number: pageCount)
        bytes.append(number: transaction)
        bytes.append(number: bytes.withUnsafeBytes { Self.checksum($0) })
        return bytes
    }

    init(pageSize: UInt32, root: UInt64, freelist: UInt64, pageCount: UInt64, transaction: UInt64) {
        self.pageSize = pageSize
        self.root = root
        self.freelist = freelist
        self.pageCount = pageCount
        self.transaction = transaction
    }

    /// Nil when the bytes are no meta, or not the one that was written.
    init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= BoltFormat.metaSize, bytes.number(0, UInt32.self) == BoltFormat.magic,
            bytes.number(4, UInt32.self) == BoltFormat.version,
            bytes.number(56, UInt64.self) == Self.checksum(UnsafeRawBufferPointer(rebasing: bytes[..<56]))
        else { return nil }
        self.init(
            pageSize: bytes.number(8, UInt32.self), root: bytes.number(16, UInt64.self),
            freelist: bytes.number(32, UInt64.self), pageCount: bytes.number(40, UInt64.self),
            transaction: bytes.number(48, UInt64.self))
    }

    /// FNV-1a with 64 bits. Source: draft-eastlake-fnv.
    static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        bytes.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01b3 }
    }
}

extension [UInt8] {
    mutating func append(number: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: number.littleEndian) { append(contentsOf: $0) }
    }
}

extension UnsafeRawBufferPointer {
    /// A number of the file. The caller has seen to it that the bytes are there.
    func number<Number: FixedWidthInteger>(_ offset: Int, _ type: Number.Type) -> Number {
        Number(littleEndian: loadUnaligned(fromByteOffset: offset, as: type))
    }
}

/// Whether the bytes of `a` come before those of `b`, as bbolt sorts keys: 0 for equal.
func order(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Int {
    for (left, right) in zip(a, b) where left != right { return left < right ? -1 : 1 }
    return a.count - b.count
}
