import EtcdAPI
import SwiftProtobuf

/// Checks, what to do when all hold, and what else: carried out at one revision, all or nothing.
public struct Txn: Sendable, Hashable {
    /// All must hold for `then`.
    public var checks: [Check] = []
    /// Done in order when they do.
    public var then: [Operation] = []
    /// Done in order when one does not.
    public var otherwise: [Operation] = []

    /// One thing a transaction does.
    public indirect enum Operation: Sendable, Hashable {
        /// Reads; sees what came before in the same transaction.
        case get(Get)
        /// Writes a value.
        case put(Put)
        /// Deletes.
        case delete(Delete)
        /// Decides once more, on the state before the whole transaction.
        case txn(Txn)
    }

    /// An empty transaction, which succeeds.
    public init() {}

    /// A transaction as the builder makes it.
    public init(@TxnBuilder _ parts: () -> Txn) { self = parts() }

    /// Whether it reads alone.
    var isReadOnly: Bool {
        (then + otherwise).allSatisfy { operation in
            if case .get = operation { true } else { false }
        }
    }

    var wire: Etcdserverpb_TxnRequest {
        .with {
            $0.compare = checks.map(\.wire)
            $0.success = then.map(\.wire)
            $0.failure = otherwise.map(\.wire)
        }
    }
}

extension Txn.Operation {
    var wire: Etcdserverpb_RequestOp {
        .with {
            switch self {
            case .get(let get): $0.requestRange = get.wire
            case .put(let put): $0.requestPut = put.wire
            case .delete(let delete): $0.requestDeleteRange = delete.wire
            case .txn(let txn): $0.requestTxn = txn.wire
            }
        }
    }
}

/// Writes a value, as a part of a transaction.
public struct Put: Sendable, Hashable {
    /// The key.
    public var key: Bytes
    /// Its new value.
    public var value: Bytes
    /// The key ends with this lease.
    public var lease: LeaseID?
    /// Leaves the key on the lease it has; `lease` must be nil, and the key exist.
    public var keepsLease = false
    /// Asks for what the key was before.
    public var previous: Bool

    /// Writes `value` to `key`.
    public init(_ key: Bytes, _ value: Bytes, lease: LeaseID? = nil, previous: Bool = false) {
        self.key = key
        self.value = value
        self.lease = lease
        self.previous = previous
    }

    var wire: Etcdserverpb_PutRequest {
        .with {
            $0.key = key.data
            $0.value = value.data
            $0.lease = lease?.value ?? 0
            $0.ignoreLease = keepsLease
            $0.prevKv = previous
        }
    }
}

/// Deletes a key or a range, as a part of a transaction.
public struct Delete: Sendable, Hashable {
    /// Which keys.
    public var range: KeyRange
    /// Asks for what they were.
    public var previous: Bool

    /// Deletes a range; a literal is one key.
    public init(_ range: KeyRange, previous: Bool = false) {
        self.range = range
        self.previous = previous
    }

    var wire: Etcdserverpb_DeleteRangeRequest {
        .with {
            $0.key = range.key.data
            $0.rangeEnd = range.end.data
            $0.prevKv = previous
        }
    }
}

/// What a transaction did.
public struct TxnOutcome: Sendable, Hashable {
    /// All checks held: `then` was done, else `otherwise`.
    public var succeeded: Bool
    /// The store's revision behind it.
    public var revision: Int64
    /// One for each operation done, in order.
    public var results: [Result]

    /// What one operation did.
    public indirect enum Result: Sendable, Hashable {
        /// What was read.
        case get(RangePage)
        /// What was written.
        case put(PutResult)
        /// What was deleted.
        case delete(DeleteResult)
        /// What was decided.
        case txn(TxnOutcome)
    }

    /// The first value each read found, nil where it found none; writes are left out.
    public var values: [KeyValue?] {
        results.compactMap { result in
            if case .get(let page) = result { .some(page.values.first) } else { nil }
        }
    }

    init(_ wire: Etcdserverpb_TxnResponse) {
        succeeded = wire.succeeded
        revision = wire.header.revision
        results = wire.responses.compactMap { response in
            switch response.response {
            case .responseRange(let range): .get(RangePage(range))
            case .responsePut(let put):
                .put(
                    PutResult(revision: put.header.revision, previous: put.hasPrevKv ? KeyValue(put.prevKv) : nil))
            case .responseDeleteRange(let delete):
                .delete(
                    DeleteResult(
                        revision: delete.header.revision, deleted: Int(delete.deleted),
                        previous: delete.prevKvs.map(KeyValue.init)))
            case .responseTxn(let txn): .txn(TxnOutcome(txn))
            case nil: nil
            }
        }
    }
}
