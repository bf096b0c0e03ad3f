/// One of the two pages where LMDB begins: transaction n writes page n % 2, so the one of the newest transaction counts
/// and the other one is a transaction older.
struct MetaPage {
    /// Bytes that LMDB uses, header included; the rest of the page is never written again.
    static let size = 152
    private static let magic: UInt32 = 0xbeef_c0de
    private static let dataVersion: UInt32 = 1
    private static let metaFlag: UInt16 = 0x08

    let transactionID: UInt64
    let lastPage: UInt64
    /// Free pages, by the transaction that freed them.
    let free: TreeRecord
    /// The named trees.
    let main: TreeRecord
    /// CRC-32C of the bytes used.
    let checksum: UInt32

    /// - Throws: `corrupt`, with `place` as its place, when this cannot be a meta page.
    init(_ slot: Int, _ bytes: UnsafeRawBufferPointer, place: String) throws(StoreError) {
        func refuse(_ detail: String) -> StoreError { .corrupt(place: place, detail: "meta page \(slot): \(detail)") }
        guard bytes.count >= Self.size, bytes.number(16, UInt32.self) == Self.magic else {
            throw refuse("this is no LMDB file")
        }
        let version = bytes.number(20, UInt32.self)
        guard version == Self.dataVersion else { throw refuse("LMDB format \(version), expected \(Self.dataVersion)") }
        guard bytes.number(0, UInt64.self) == UInt64(slot), bytes.number(10, UInt16.self) & Self.metaFlag != 0 else {
            throw refuse("its header is not that of a meta page")
        }
        free = TreeRecord(UnsafeRawBufferPointer(rebasing: bytes[40..<88]))
        main = TreeRecord(UnsafeRawBufferPointer(rebasing: bytes[88..<136]))
        lastPage = bytes.number(136, UInt64.self)
        transactionID = bytes.number(144, UInt64.self)
        var sum = CRC32C()
        sum.add(UnsafeRawBufferPointer(rebasing: bytes[..<Self.size]))
        checksum = sum.value
        // The page size is kept where other trees have the size of packed keys.
        guard free.keySize == UInt32(PageFile.pageSize) else {
            throw refuse("pages of \(free.keySize) bytes, expected \(PageFile.pageSize)")
        }
        guard transactionID & 1 == UInt64(slot) || transactionID == 0 else {
            throw refuse("it holds transaction \(transactionID), which belongs on the other meta page")
        }
    }

    /// Whether its trees can be where it says. The older page may be odd: when writing a meta page fails, LMDB puts back its
    /// transaction and last page, and leaves the roots of the transaction that failed.
    func checkRoots(place: String) throws(StoreError) {
        func refuse(_ detail: String) -> StoreError {
            .corrupt(place: place, detail: "meta page \(transactionID & 1): \(detail)")
        }
        guard lastPage >= 1, lastPage < 1 << 44 else { throw refuse("its last page is \(lastPage)") }
        for tree in [free, main] where !tree.isEmpty {
            guard tree.root >= 2, tree.root <= lastPage, tree.depth >= 1, tree.depth <= 32 else {
                throw refuse("a root at page \(tree.root) of \(lastPage), \(tree.depth) levels deep")
            }
        }
    }
}

/// Both meta pages.
struct MetaPages {
    let newest: MetaPage
    let older: MetaPage

    init(_ file: PageFile) throws(StoreError) {
        try file.refresh()
        guard file.pageCount >= 2 else {
            throw .corrupt(
                place: file.path, detail: "the file has \(file.pageCount) whole pages, at least 2 are needed")
        }
        let first = try MetaPage(0, try file.bytes(0), place: file.path)
        let second = try MetaPage(1, try file.bytes(1), place: file.path)
        // As LMDB picks.
        (newest, older) = first.transactionID < second.transactionID ? (second, first) : (first, second)
        try newest.checkRoots(place: file.path)
    }

    /// Whether one follows the other, as LMDB always leaves them.
    var areConsecutive: Bool { newest.transactionID - older.transactionID <= 1 }
}
