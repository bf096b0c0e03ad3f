import EtcdAPI
import ProtobufWire
import SwiftProtobuf

/// Reads a range of one store at one revision, page by page.
struct TransferReader: Sendable {
    let caller: Caller
    let range: KeyRange
    let revision: Int64

    /// Where to read on.
    struct Cursor: Sendable {
        var key: Bytes
        var size = PageSize()
        var reach = PageReach()
    }

    /// A server that counts a million keys for each page, on a busy disk, may take longer than other calls.
    static let patience = Duration.seconds(60)

    var start: Cursor { Cursor(key: range.key) }

    /// The page at `cursor`, and where the next one begins; nil behind the last. A page may be empty.
    ///
    /// - Parameter end: the first key not wanted, the end of the range unless given.
    func page(
        at cursor: Cursor, upTo end: Bytes? = nil
    ) async throws(BerthError) -> (page: TransferPage, next: Cursor?) {
        var next = cursor
        // A caller who says where to stop knows better.
        let reach = end == nil ? cursor.reach.end(from: cursor.key, within: range.end) : nil
        let page = try await read(&next, reach ?? end ?? range.end)
        next.size.read(keys: page.entries.count, bytes: page.bytes.count)
        guard let first = page.entries.first, let last = page.entries.last else {
            next.reach.readNothing()
            guard let reach else { return (page, nil) }
            next.key = reach
            return (page, next)
        }
        let lastKey = page.key(of: last)
        next.reach.read(
            first: page.key(of: first), last: lastKey, keys: page.entries.count, limit: cursor.size.limit)
        if page.more {
            next.key = lastKey.successor
        } else if let reach {
            next.key = reach
        } else {
            return (page, nil)
        }
        return (page, next)
    }

    private func read(_ cursor: inout Cursor, _ end: Bytes) async throws(BerthError) -> TransferPage {
        while true {
            let request = Etcdserverpb_RangeRequest.with {
                $0.key = cursor.key.data
                $0.rangeEnd = end.data
                $0.revision = revision
                $0.limit = Int64(cursor.size.limit)
            }
            do throws(BerthError) {
                return try Self.parsed(
                    try await caller.callEncoded(Methods.range, request, options: Self.options),
                    TransferPage.init(range:))
            } catch .tooLarge(let what) {
                guard cursor.size.refused() else { throw .tooLarge(what) }
            }
        }
    }

    /// Keys by their names, in one transaction of at most 128 reads.
    func keys(_ keys: some Sequence<Bytes>) async throws(BerthError) -> TransferPage {
        let request = Etcdserverpb_TxnRequest.with {
            $0.success = keys.map { key in
                .with {
                    $0.requestRange = .with {
                        $0.key = key.data
                        $0.revision = revision
                    }
                }
            }
        }
        return try Self.parsed(
            try await caller.callEncoded(Methods.repeatableTxn, request, options: Self.options),
            TransferPage.init(txn:))
    }

    static let options = Caller.Options(timeout: .after(patience))

    private static func parsed(
        _ bytes: [UInt8], _ parse: ([UInt8]) throws(WireError) -> TransferPage
    ) throws(BerthError) -> TransferPage {
        do throws(WireError) {
            return try parse(bytes)
        } catch {
            throw .server(code: 13, message: "an answer that cannot be read: \(error)")
        }
    }
}
