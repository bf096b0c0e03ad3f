import Glibc

/// The head of `base/pages.sum`: which transaction of base the sums belong to, and what that transaction's meta page
/// looked like. Two of them, each in a block of its own: transaction n writes number n % 2, so one that is damaged or
/// torn leaves the one of the transaction before.
struct SumHeader: Equatable {
    private static let magic: UInt64 = 0x314d_5553_5f42_5242  // "BRB_SUM1"
    private static let version: UInt32 = 1
    private static let size = 64

    var transactionID: UInt64
    /// Entries in the file.
    var count: UInt64
    /// CRC-32C of that transaction's meta page.
    var metaChecksum: UInt32
    /// The main tree's root in the transaction before, whose meta page the next one overwrites.
    var olderRoot: UInt64

    init(_ metas: MetaPages, count: Int) {
        transactionID = metas.newest.transactionID
        self.count = UInt64(count)
        metaChecksum = metas.newest.checksum
        olderRoot = metas.older.main.root
    }

    /// Nil: damaged, or never written.
    private init?(_ bytes: UnsafeRawBufferPointer) {
        var sum = CRC32C()
        sum.add(UnsafeRawBufferPointer(rebasing: bytes[..<(Self.size - 4)]))
        func number<N: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, _ type: N.Type) -> N {
            N(littleEndian: bytes.number(offset, type))
        }
        guard number(0, UInt64.self) == Self.magic, number(Self.size - 4, UInt32.self) == sum.value,
            number(8, UInt32.self) == Self.version, number(12, UInt32.self) == UInt32(PageFile.pageSize)
        else { return nil }
        transactionID = number(16, UInt64.self)
        count = number(24, UInt64.self)
        metaChecksum = number(32, UInt32.self)
        olderRoot = number(40, UInt64.self)
        guard count < 1 << 34 else { return nil }
    }

    private var bytes: [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Self.size)
        bytes.withUnsafeMutableBytes { target in
            target.storeBytes(of: Self.magic.littleEndian, toByteOffset: 0, as: UInt64.self)
            target.storeBytes(of: Self.version.littleEndian, toByteOffset: 8, as: UInt32.self)
            target.storeBytes(of: UInt32(PageFile.pageSize).littleEndian, toByteOffset: 12, as: UInt32.self)
            target.storeBytes(of: transactionID.littleEndian, toByteOffset: 16, as: UInt64.self)
            target.storeBytes(of: count.littleEndian, toByteOffset: 24, as: UInt64.self)
            target.storeBytes(of: metaChecksum.littleEndian, toByteOffset: 32, as: UInt32.self)
            target.storeBytes(of: olderRoot.littleEndian, toByteOffset: 40, as: UInt64.self)
            var sum = CRC32C()
            sum.add(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(target)[..<(Self.size - 4)]))
            target.storeBytes(of: sum.value.littleEndian, toByteOffset: Self.size - 4, as: UInt32.self)
        }
        return bytes
    }

    /// The newest header that can be read; nil when there is none.
    static func newest(in file: Int32) throws(StoreError) -> SumHeader? {
        var found: SumHeader?
        for slot in 0..<2 {
            var bytes = [UInt8](repeating: 0, count: size)
            let got = pread(file, &bytes, size, off_t(slot * SumTable.blockSize))
            guard got >= 0 else { throw .lmdb(code: errno, operation: "pread base/pages.sum") }
            guard got == size, let header = bytes.withUnsafeBytes({ SumHeader($0) }) else { continue }
            if header.transactionID >= found?.transactionID ?? 0 { found = header }
        }
        return found
    }

    /// Writes it into its place, or into both in a new file; not durable yet.
    func write(to file: Int32, everywhere: Bool) throws(StoreError) {
        let bytes = bytes
        for slot in 0..<2 where everywhere || UInt64(slot) == transactionID & 1 {
            guard pwrite(file, bytes, bytes.count, off_t(slot * SumTable.blockSize)) == bytes.count else {
                throw .lmdb(code: errno == 0 ? EIO : errno, operation: "pwrite base/pages.sum")
            }
        }
    }
}
