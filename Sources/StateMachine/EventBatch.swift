import EtcdAPI
import ProtobufWire
public import Vocabulary

/// The changes of a committed batch, in order of revision and place within it.
///
/// Immutable, one block of bytes and one of offsets: it is made on the log thread and read by all event loops.
public final class EventBatch: Sendable {
    /// One change, borrowed from the batch.
    public struct Event {
        /// When.
        public let revision: Revision
        /// Its place among the changes of its revision.
        public let sub: UInt32
        /// The key is gone.
        public let isDeletion: Bool
        /// The key was absent before.
        public let isCreation: Bool
        /// What changed.
        public let key: UnsafeRawBufferPointer
        /// The encoded `mvccpb.KeyValue`, as an event carries it.
        public let keyValue: UnsafeRawBufferPointer
    }

    fileprivate struct Entry {
        let revision: Revision
        let sub: UInt32
        let isDeletion: Bool
        let isCreation: Bool
        let start: Int
        let keyStart: Int
        let keyEnd: Int
        let end: Int
    }

    private let bytes: [UInt8]
    private let entries: [Entry]

    fileprivate init(bytes: [UInt8], entries: [Entry]) {
        self.bytes = bytes
        self.entries = entries
    }

    /// How many changes there are; at least one.
    public var count: Int { entries.count }

    /// Visits the changes in order, or those at the given positions.
    public func forEach(in positions: Range<Int>? = nil, _ visit: (Event) -> Void) {
        bytes.withUnsafeBytes { bytes in
            for entry in entries[positions ?? 0..<entries.count] {
                visit(
                    Event(
                        revision: entry.revision, sub: entry.sub, isDeletion: entry.isDeletion,
                        isCreation: entry.isCreation,
                        key: UnsafeRawBufferPointer(rebasing: bytes[entry.keyStart..<entry.keyEnd]),
                        keyValue: UnsafeRawBufferPointer(rebasing: bytes[entry.start..<entry.end])))
            }
        }
    }
}

/// Collects a batch's changes as they are applied.
struct EventBatchBuilder {
    private var writer = WireWriter(capacity: 0)
    private var entries: [EventBatch.Entry] = []

    mutating func appendPut(
        key: UnsafeRawBufferPointer, createRevision: Revision, revision: Revision, sub: UInt32, version: Int64,
        value: UnsafeRawBufferPointer, lease: LeaseID
    ) {
        let start = writer.bytes.count
        KeyValueView.append(
            key: key, createRevision: createRevision, modRevision: revision, version: version, value: value,
            lease: lease, to: &writer)
        appendEntry(start: start, key: key, revision: revision, sub: sub, isDeletion: false, isCreation: version == 1)
    }

    mutating func appendDeletion(key: UnsafeRawBufferPointer, revision: Revision, sub: UInt32) {
        let start = writer.bytes.count
        KeyValueView.appendTombstone(key: key, modRevision: revision, to: &writer)
        appendEntry(start: start, key: key, revision: revision, sub: sub, isDeletion: true, isCreation: false)
    }

    /// The key is the first field, after a one-byte tag and its length.
    private mutating func appendEntry(
        start: Int, key: UnsafeRawBufferPointer, revision: Revision, sub: UInt32, isDeletion: Bool, isCreation: Bool
    ) {
        let keyStart = start + 1 + WireWriter.varintSize(UInt64(key.count))
        entries.append(
            EventBatch.Entry(
                revision: revision, sub: sub, isDeletion: isDeletion, isCreation: isCreation, start: start,
                keyStart: keyStart, keyEnd: keyStart + key.count, end: writer.bytes.count))
    }

    /// Hands over what was collected, and starts anew with the same room.
    mutating func take() -> EventBatch? {
        guard !entries.isEmpty else { return nil }
        let batch = EventBatch(bytes: writer.bytes, entries: entries)
        writer = WireWriter(capacity: batch.byteCount)
        entries = []
        entries.reserveCapacity(batch.count)
        return batch
    }
}

extension EventBatch {
    fileprivate var byteCount: Int { bytes.count }
}
