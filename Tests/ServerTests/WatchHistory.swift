import EtcdAPI
import FoundationEssentials
import GRPCTransport
import SwiftProtobuf
import TestSupport
import Testing

/// Everything that was written, as the writer knows it from its own answers: the naive model watches are held to.
struct WatchHistory: Sendable {
    struct Change: Sendable, Equatable {
        let key: String
        /// Nil for a deletion.
        let value: [UInt8]?
        let revision: Int64
        /// What the key held just before; nil when it did not exist.
        let previous: [UInt8]?
    }

    private(set) var changes: [Change] = []
    private var current: [String: [UInt8]] = [:]

    var lastRevision: Int64 { changes.last?.revision ?? 1 }

    mutating func record(_ operations: [(key: String, value: [UInt8]?)], at revision: Int64) {
        // All operations of a transaction are on different keys.
        for (key, value) in operations where value != nil || current[key] != nil {
            changes.append(Change(key: key, value: value, revision: revision, previous: current[key]))
            current[key] = value
        }
    }

    /// Writes puts, deletions and transactions of both on the keys `k0` to `k(keys - 1)`, one after the other.
    mutating func write(
        _ count: Int, with client: GRPCClient, keys: Int, valueBytes: Int, _ random: inout SeededGenerator
    ) async throws {
        for _ in 0..<count {
            let chosen = (0..<keys).shuffled(using: &random).prefix(Int.random(in: 1...5, using: &random))
            let operations = chosen.map { number -> (key: String, value: [UInt8]?) in
                let isDeletion = Int.random(in: 0..<4, using: &random) == 0
                let length = Int.random(in: 1...valueBytes, using: &random)
                return (
                    "k\(number)",
                    isDeletion ? nil : [UInt8](repeating: UInt8.random(in: 0...255, using: &random), count: length)
                )
            }
            try await write(operations, with: client)
        }
    }

    /// Writes one transaction of operations on different keys.
    mutating func write(_ operations: [(key: String, value: [UInt8]?)], with client: GRPCClient) async throws {
        let txn = Etcdserverpb_TxnRequest.with {
            $0.success = operations.map { key, value in
                .with {
                    if let value {
                        $0.requestPut.key = Data(key.utf8)
                        $0.requestPut.value = Data(value)
                    } else {
                        $0.requestDeleteRange.key = Data(key.utf8)
                    }
                }
            }
        }
        let answer = try await client.call("/etcdserverpb.KV/Txn", txn, Etcdserverpb_TxnResponse.self)
        record(operations, at: answer.header.revision)
    }

    /// What a watch is to see: changes of the revisions from `first` on whose key it holds.
    func changes(from first: Int64, where holds: (Change) -> Bool) -> [Change] {
        changes.filter { $0.revision >= first && holds($0) }
    }
}

extension WatchHistory.Change: CustomStringConvertible {
    /// Short, as failures print many: values show as their first byte and length.
    var description: String {
        func short(_ value: [UInt8]?) -> String { value.map { "\($0.first ?? 0)x\($0.count)" } ?? "nil" }
        return "\(revision):\(key)=\(short(value)) was \(short(previous))"
    }

    /// Reads an event; `previous` only when the watch asked for it.
    init(_ event: Mvccpb_Event) {
        self.init(
            key: String(decoding: event.kv.key, as: UTF8.self),
            value: event.type == .delete ? nil : [UInt8](event.kv.value), revision: event.kv.modRevision,
            previous: event.hasPrevKv ? [UInt8](event.prevKv.value) : nil)
    }

    /// As a watch without `prev_kv` sees it.
    var withoutPrevious: Self { Self(key: key, value: value, revision: revision, previous: nil) }
}

/// What one watch has received, checked as it comes: revisions grow, and none is split over responses unless the watch
/// asked for fragments.
struct WatchRecord {
    private(set) var changes: [WatchHistory.Change] = []
    private var isInFragments = false

    /// The first place where it is not `expected`; nil when it is all of it.
    func difference(to expected: [WatchHistory.Change]) -> String? {
        for (seen, due) in zip(changes, expected) where seen != due { return "saw \(seen) instead of \(due)" }
        return changes.count == expected.count ? nil : "\(changes.count) events instead of \(expected.count)"
    }

    mutating func add(_ response: Etcdserverpb_WatchResponse) throws {
        for event in response.events {
            let change = WatchHistory.Change(event)
            if let last = changes.last { try #require(change.revision >= last.revision, "revisions go back") }
            changes.append(change)
        }
        if let first = response.events.first, !isInFragments {
            let before = changes.dropLast(response.events.count).last?.revision ?? 0
            try #require(first.kv.modRevision > before, "revision \(before) is split over responses")
        }
        isInFragments = response.fragment
    }
}
