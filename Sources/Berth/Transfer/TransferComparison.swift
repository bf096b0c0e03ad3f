#if canImport(Glibc)
    import Glibc
#endif

/// Compares the keys of two stores, which come page by page in key order. Pure: it is handed pages, and reads nothing.
///
/// Each side's hash is SHA-256 over its keys in order: the key's length, the key, the value's length, the value, the
/// number of the lease, where each number takes eight bytes, the highest first.
package struct TransferComparison: Sendable {
    /// Keys of the target that the source does not have are no difference: they were there before.
    private let allowsOthers: Bool
    /// Keys of these leases are passed over in the source: the leases ended, and the keys with them.
    private let endedLeases: Set<Int64>
    private var sourceHash = SHA256()
    private var targetHash = SHA256()

    /// Keys of the source, those of ended leases left out.
    package private(set) var sourceKeys = 0
    /// Keys of the source that were passed over, as their leases ended.
    package private(set) var skippedKeys = 0
    /// Keys of the target, those that are no difference left out.
    package private(set) var targetKeys = 0
    /// Keys of the target that were there before.
    package private(set) var otherKeys = 0
    /// Keys that differ.
    package private(set) var differences = 0
    /// The first of these.
    package private(set) var firstDifferences: [TransferDifference] = []
    private static let shownDifferences = 10

    package init(allowsOthers: Bool, endedLeases: Set<Int64> = []) {
        self.allowsOthers = allowsOthers
        self.endedLeases = endedLeases
    }

    /// Hash of the source's keys, in hexadecimal.
    package var sourceDigest: String { Self.hexadecimal(sourceHash.digest()) }
    /// Hash of the target's keys, in hexadecimal.
    package var targetDigest: String { Self.hexadecimal(targetHash.digest()) }

    /// A side's page, and how far it has been read.
    package struct Side: Sendable {
        package let page: TransferPage
        package var position = 0

        package init(_ page: TransferPage) { self.page = page }

        package var isDone: Bool { position == page.entries.count }
    }

    /// Compares until one side has no more keys. Call it again with the next page there; a side that has none any more
    /// is finished with `finish`.
    package mutating func compare(_ source: inout Side, _ target: inout Side) {
        let (sourcePage, targetPage) = (source.page, target.page)
        sourcePage.bytes.withUnsafeBytes { sourceBytes in
            targetPage.bytes.withUnsafeBytes { targetBytes in
                while !source.isDone, !target.isDone {
                    let wanted = sourcePage.entries[source.position]
                    if endedLeases.contains(wanted.lease) {
                        skippedKeys += 1
                        source.position += 1
                        continue
                    }
                    let found = targetPage.entries[target.position]
                    let order = Self.order(sourceBytes, wanted.key, targetBytes, found.key)
                    if order <= 0 {
                        Self.add(wanted, of: sourceBytes, to: &sourceHash)
                        sourceKeys += 1
                        source.position += 1
                    }
                    if order == 0 {
                        Self.add(found, of: targetBytes, to: &targetHash)
                        targetKeys += 1
                        target.position += 1
                        if let kind = Self.difference(wanted, sourceBytes, found, targetBytes) {
                            note(kind, sourcePage.key(of: wanted))
                        }
                    } else if order < 0 {
                        note(.missing, sourcePage.key(of: wanted))
                    } else {
                        targetHasOther(found, targetBytes)
                        target.position += 1
                    }
                }
            }
        }
    }

    /// What is left of the source's page has nothing to go with on the target.
    package mutating func finish(source: inout Side) {
        let page = source.page
        page.bytes.withUnsafeBytes { bytes in
            for entry in page.entries[source.position...] {
                if endedLeases.contains(entry.lease) {
                    skippedKeys += 1
                    continue
                }
                Self.add(entry, of: bytes, to: &sourceHash)
                sourceKeys += 1
                note(.missing, page.key(of: entry))
            }
        }
        source.position = page.entries.count
    }

    /// What is left of the target's page has nothing to go with in the source.
    package mutating func finish(target: inout Side) {
        let page = target.page
        page.bytes.withUnsafeBytes { bytes in
            for entry in page.entries[target.position...] { targetHasOther(entry, bytes) }
        }
        target.position = page.entries.count
    }

    private mutating func targetHasOther(_ entry: TransferPage.Entry, _ bytes: UnsafeRawBufferPointer) {
        if allowsOthers {
            otherKeys += 1
            return
        }
        Self.add(entry, of: bytes, to: &targetHash)
        targetKeys += 1
        note(.unexpected, Bytes(bytes[entry.key]))
    }

    private mutating func note(_ kind: TransferDifference.Kind, _ key: Bytes) {
        differences += 1
        if firstDifferences.count < Self.shownDifferences { firstDifferences.append(.init(key: key, kind: kind)) }
    }

    // MARK: Bytes

    private static func difference(
        _ a: TransferPage.Entry, _ aBytes: UnsafeRawBufferPointer, _ b: TransferPage.Entry,
        _ bBytes: UnsafeRawBufferPointer
    ) -> TransferDifference.Kind? {
        if order(aBytes, a.value, bBytes, b.value) != 0 { return .value }
        return a.lease == b.lease ? nil : .lease
    }

    /// Below zero when the first comes first, as stores order keys.
    private static func order(
        _ aBytes: UnsafeRawBufferPointer, _ a: Range<Int>, _ bBytes: UnsafeRawBufferPointer, _ b: Range<Int>
    ) -> Int {
        let common = min(a.count, b.count)
        if common > 0, let aStart = aBytes.baseAddress, let bStart = bBytes.baseAddress {
            let order = memcmp(aStart + a.lowerBound, bStart + b.lowerBound, common)
            if order != 0 { return Int(order) }
        }
        return a.count - b.count
    }

    private static func add(_ entry: TransferPage.Entry, of bytes: UnsafeRawBufferPointer, to hash: inout SHA256) {
        hash.update(UInt64(entry.key.count))
        hash.update(UnsafeRawBufferPointer(rebasing: bytes[entry.key]))
        hash.update(UInt64(entry.value.count))
        hash.update(UnsafeRawBufferPointer(rebasing: bytes[entry.value]))
        hash.update(UInt64(bitPattern: entry.lease))
    }

    private static func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
    }
}

/// A key that is not on the target what it is in the source.
public struct TransferDifference: Sendable, Hashable {
    /// What is wrong with it.
    public enum Kind: String, Sendable, Hashable {
        /// The target lacks it.
        case missing
        /// The source does not have it, nor was it on the target before.
        case unexpected
        /// The values differ.
        case value
        /// The values are the same, the leases differ.
        case lease
    }

    /// The key.
    public var key: Bytes
    /// What is wrong with it.
    public var kind: Kind

    /// Names a key and what is wrong with it.
    public init(key: Bytes, kind: Kind) {
        self.key = key
        self.kind = kind
    }
}
