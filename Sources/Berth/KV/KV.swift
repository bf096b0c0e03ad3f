import EtcdAPI
import SwiftProtobuf

/// Keys and values: reads, writes, transactions. All but `serializable` reads are linearizable.
///
/// Writes are made again only while no server can have seen them; after that a broken connection is
/// `BerthError.uncertain`. A write to a key that a lock guards throws `BerthError.locked`: write with the lock's handle.
public struct KV: Sendable {
    let caller: Caller

    /// The state of one key, nil when it does not exist.
    ///
    /// - Parameters:
    ///   - revision: as of this revision instead of now.
    ///   - serializable: any server's own state will do, be it a little old; works without a leader.
    /// - Throws: `.compacted` or `.futureRevision` for a revision that is not kept.
    public func get(
        _ key: Bytes, revision: Int64? = nil, serializable: Bool = false
    ) async throws(BerthError) -> KeyValue? {
        var get = Get(.key(key))
        get.revision = revision
        get.isSerializable = serializable
        return try await page(get).values.first
    }

    /// One answer to a range read, for callers who want counts, a limit or an order. See `range` for long ones.
    public func page(_ get: Get) async throws(BerthError) -> RangePage {
        RangePage(try await caller.call(Methods.range, get.wire))
    }

    /// The keys of a range in order, read page by page at one revision: a consistent view, whatever is written
    /// meanwhile.
    ///
    /// - Parameters:
    ///   - revision: as of this revision instead of when the first page is read.
    ///   - keysOnly: leaves the values empty.
    ///   - pageSize: keys asked for at once.
    public func range(
        _ range: KeyRange, revision: Int64? = nil, keysOnly: Bool = false, pageSize: Int = 500
    ) -> KeyValues {
        var get = Get(range)
        get.revision = revision
        get.keysOnly = keysOnly
        get.limit = max(1, pageSize)
        return KeyValues(kv: self, first: get)
    }

    /// How many keys a range holds.
    public func count(_ range: KeyRange, revision: Int64? = nil) async throws(BerthError) -> Int {
        var get = Get(range)
        get.revision = revision
        get.countOnly = true
        return try await page(get).count
    }

    /// Writes a value.
    ///
    /// - Parameters:
    ///   - lease: the key ends with this lease; nil keeps it until it is deleted, and takes it off a lease it had.
    ///   - previous: asks for what the key was before.
    /// - Throws: `.locked`, `.leaseNotFound`, `.noSpace`, `.tooLarge`, `.uncertain`.
    @discardableResult
    public func put(
        _ key: Bytes, _ value: Bytes, lease: LeaseID? = nil, previous: Bool = false
    ) async throws(BerthError) -> PutResult {
        let answer = try await caller.call(Methods.put, Put(key, value, lease: lease, previous: previous).wire)
        return PutResult(
            revision: answer.header.revision, previous: answer.hasPrevKv ? KeyValue(answer.prevKv) : nil)
    }

    /// Deletes the keys of a range; a literal is one key.
    ///
    /// - Parameter previous: asks for what was deleted.
    /// - Throws: `.locked`, `.uncertain`.
    @discardableResult
    public func delete(_ range: KeyRange, previous: Bool = false) async throws(BerthError) -> DeleteResult {
        let answer = try await caller.call(Methods.delete, Delete(range, previous: previous).wire)
        return DeleteResult(
            revision: answer.header.revision, deleted: Int(answer.deleted), previous: answer.prevKvs.map(KeyValue.init))
    }

    /// Does several things at one revision, or others when a check fails.
    ///
    /// ```swift
    /// let outcome = try await client.kv.txn {
    ///     Check.value(of: "balance", is: "10")
    ///     Put("balance", "7")
    ///     Otherwise { Get("balance") }
    /// }
    /// ```
    /// - Throws: `.locked`, `.invalid` (the same key put twice, more than 128 operations), `.uncertain`.
    @discardableResult
    public func txn(@TxnBuilder _ parts: () -> Txn) async throws(BerthError) -> TxnOutcome {
        try await txn(parts())
    }

    /// Carries out a transaction that was put together elsewhere.
    @discardableResult
    public func txn(_ txn: Txn) async throws(BerthError) -> TxnOutcome {
        TxnOutcome(try await caller.call(txn.isReadOnly ? Methods.repeatableTxn : Methods.txn, txn.wire))
    }

    /// Lets history before `revision` go: reads and watches from before it fail then.
    ///
    /// - Parameter physical: returns only when the space is free.
    public func compact(_ revision: Int64, physical: Bool = false) async throws(BerthError) {
        let request = Etcdserverpb_CompactionRequest.with {
            $0.revision = revision
            $0.physical = physical
        }
        _ = try await caller.call(Methods.compact, request)
    }
}

/// What a put did.
public struct PutResult: Sendable, Hashable {
    /// The revision of the put.
    public var revision: Int64
    /// What the key was before; nil when it did not exist, or nobody asked.
    public var previous: KeyValue?
}

/// What a delete did.
public struct DeleteResult: Sendable, Hashable {
    /// The revision of the delete, or the present one when there was nothing to delete.
    public var revision: Int64
    /// How many keys it deleted.
    public var deleted: Int
    /// What they were, when asked for.
    public var previous: [KeyValue]
}
