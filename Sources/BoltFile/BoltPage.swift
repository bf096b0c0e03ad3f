/// A page with its overflow, looked over as far as its own bytes tell: every element lies inside, and no two share bytes,
/// so that what is read of a file is never more than the file has.
final class BoltPage {
    /// Bytes of a branch, at most: of entries as long as allowed bbolt puts no more than a few on one page.
    private static let largestBranch = 1 << 20
    /// Bytes of a leaf, at most. bbolt leaves up to four entries together, however long; etcd's requests have 64 MiB at
    /// the very most.
    private static let largestLeaf = 320 << 20

    let number: UInt64
    let isLeaf: Bool
    let count: Int
    /// Pages behind it that belong to it.
    let overflow: UInt64
    /// Behind the header.
    private let body: UnsafeRawBufferPointer
    private let memory: UnsafeMutableRawBufferPointer

    /// Reads a page of a tree, and those it overflows to.
    convenience init(_ number: UInt64, of bytes: any BoltBytes, pageSize: Int, pageCount: UInt64) throws(BoltError) {
        // Checked by the caller: the page is one of the file's.
        let first = UnsafeMutableRawBufferPointer.allocate(byteCount: pageSize, alignment: 16)
        let header: Header
        do throws(BoltError) {
            try bytes.read(at: Int(number) * pageSize, into: first)
            header = try Header(UnsafeRawBufferPointer(first), number)
            guard header.id == number else { throw .damaged(page: number, detail: "it calls itself page \(header.id)") }
            guard UInt64(header.overflow) < pageCount - number else {
                throw .damaged(page: number, detail: "it overflows to \(header.overflow) pages, past the last one")
            }
            let size = (header.overflow + 1) * pageSize
            let bound = header.isLeaf ? Self.largestLeaf : Self.largestBranch
            guard size <= bound else {
                throw .damaged(
                    page: number, detail: "it has \(size) bytes with its overflow, expected \(bound) at most")
            }
        } catch {
            first.deallocate()
            throw error
        }
        guard header.overflow > 0 else {
            try self.init(number, header, first)
            return
        }
        let whole = UnsafeMutableRawBufferPointer.allocate(
            byteCount: (header.overflow + 1) * pageSize, alignment: 16)
        whole.copyMemory(from: UnsafeRawBufferPointer(first))
        first.deallocate()
        do throws(BoltError) {
            try bytes.read(
                at: (Int(number) + 1) * pageSize, into: UnsafeMutableRawBufferPointer(rebasing: whole[pageSize...]))
        } catch {
            whole.deallocate()
            throw error
        }
        try self.init(number, header, whole)
    }

    /// The page inside a bucket's value, where the bucket is small.
    ///
    /// - Parameter holder: the page that has the value.
    convenience init(inline bytes: [UInt8], in holder: UInt64) throws(BoltError) {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 16)
        memory.copyBytes(from: bytes)
        let header: Header
        do throws(BoltError) {
            header = try Header(UnsafeRawBufferPointer(memory), holder)
            guard header.isLeaf, header.overflow == 0 else {
                throw .damaged(page: holder, detail: "a bucket inside it is no leaf")
            }
        } catch {
            memory.deallocate()
            throw error
        }
        try self.init(holder, header, memory)
    }

    /// Takes the memory over.
    private init(_ number: UInt64, _ header: Header, _ memory: UnsafeMutableRawBufferPointer) throws(BoltError) {
        self.number = number
        isLeaf = header.isLeaf
        count = header.count
        overflow = UInt64(header.overflow)
        self.memory = memory
        body = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(memory)[BoltFormat.headerSize...])
        try check()
    }

    deinit { memory.deallocate() }

    /// Looks at each element once.
    private func check() throws(BoltError) {
        guard count * BoltFormat.elementSize <= body.count else {
            throw damaged("\(count) elements do not fit its \(body.count) bytes")
        }
        guard isLeaf || count > 0 else { throw damaged("it is a branch without children") }
        var end = count * BoltFormat.elementSize
        for index in 0..<count {
            let (start, keyCount, valueCount) = place(index)
            guard start >= end, start <= body.count, keyCount <= body.count - start,
                valueCount <= body.count - start - keyCount
            else { throw damaged("element \(index) lies outside of it or in another element") }
            guard (1...BoltFormat.largestKey).contains(keyCount) else {
                throw damaged("element \(index) has a key of \(keyCount) bytes")
            }
            end = start + keyCount + valueCount
            if index > 0, order(key(index - 1), key(index)) >= 0 {
                throw damaged("its keys are out of order at element \(index)")
            }
        }
    }

    /// Where an element's bytes begin, from the body's start, and the sizes of its key and value.
    private func place(_ index: Int) -> (start: Int, keyCount: Int, valueCount: Int) {
        let element = index * BoltFormat.elementSize
        func field(_ offset: Int) -> Int { Int(body.number(element + offset, UInt32.self)) }
        return isLeaf ? (element + field(4), field(8), field(12)) : (element + field(0), field(4), 0)
    }

    func key(_ index: Int) -> UnsafeRawBufferPointer {
        let (start, keyCount, _) = place(index)
        return UnsafeRawBufferPointer(rebasing: body[start..<start + keyCount])
    }

    /// Of a leaf.
    func value(_ index: Int) -> UnsafeRawBufferPointer {
        let (start, keyCount, valueCount) = place(index)
        return UnsafeRawBufferPointer(rebasing: body[start + keyCount..<start + keyCount + valueCount])
    }

    /// Of a leaf.
    func isBucket(_ index: Int) -> Bool {
        body.number(index * BoltFormat.elementSize, UInt32.self) & BoltFormat.bucketFlag != 0
    }

    /// Of a branch.
    func child(_ index: Int) -> UInt64 { body.number(index * BoltFormat.elementSize + 8, UInt64.self) }

    func damaged(_ detail: String) -> BoltError { .damaged(page: number, detail: detail) }
}

extension BoltPage {
    /// The first 16 bytes of a page.
    fileprivate struct Header {
        let id: UInt64
        let isLeaf: Bool
        let count: Int
        let overflow: Int

        /// - Parameter number: for messages.
        init(_ bytes: UnsafeRawBufferPointer, _ number: UInt64) throws(BoltError) {
            guard bytes.count >= BoltFormat.headerSize else {
                throw .damaged(page: number, detail: "a bucket inside it has \(bytes.count) bytes and no header")
            }
            id = bytes.number(0, UInt64.self)
            let flags = bytes.number(8, UInt16.self)
            switch BoltFormat.Kind(rawValue: flags) {
            case .leaf: isLeaf = true
            case .branch: isLeaf = false
            case .meta, .freelist, nil:
                throw .damaged(page: number, detail: "its flags are \(flags), expected a branch (1) or a leaf (2)")
            }
            count = Int(bytes.number(10, UInt16.self))
            overflow = Int(bytes.number(12, UInt32.self))
        }
    }
}
