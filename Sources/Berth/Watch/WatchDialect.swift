import EtcdAPI
import SwiftProtobuf

/// One watch on a stream of its own: asks for it from the position reached, and takes answers in. Pure.
package struct WatchDialect: StreamDialect {
    package let path = Methods.watchPath
    package let staysOpen = true
    private let range: KeyRange
    private let options: WatchOptions

    /// The revision whose events come next; 0 before the server said where "now" is.
    package private(set) var next: Int64
    /// Events of `next` delivered already: a server may cut a large revision into fragments.
    package private(set) var delivered = 0
    /// Events of `next` that this stream brings again.
    private var toSkip = 0

    package init(_ range: KeyRange, from revision: Int64?, options: WatchOptions) {
        self.range = range
        self.options = options
        next = max(0, revision ?? 0)
    }

    package mutating func request() throws(BerthError) -> [UInt8] {
        toSkip = delivered
        let create = Etcdserverpb_WatchCreateRequest.with {
            $0.key = range.key.data
            $0.rangeEnd = range.end.data
            $0.startRevision = next
            $0.progressNotify = true
            $0.fragment = true
            $0.prevKv = options.previous
            if options.ignoresPuts { $0.filters.append(.noput) }
            if options.ignoresDeletes { $0.filters.append(.nodelete) }
        }
        let request = Etcdserverpb_WatchRequest.with { $0.createRequest = create }
        do { return try request.serializedBytes() } catch { throw .invalid("the watch cannot be encoded: \(error)") }
    }

    package mutating func take(_ message: [UInt8]) throws(BerthError) -> StreamStep<WatchBatch> {
        let answer: Etcdserverpb_WatchResponse
        do {
            answer = try Etcdserverpb_WatchResponse(serializedBytes: message)
        } catch {
            throw .server(code: 13, message: "a watch answer that cannot be read: \(error)")
        }
        if answer.canceled { return try ended(answer) }
        if answer.created {
            if next == 0 { next = answer.header.revision + 1 }
            return progress(at: min(answer.header.revision, next - 1))
        }
        guard !answer.events.isEmpty else {
            // In the middle of a revision it would say too much.
            guard delivered == 0 else { return .nothing }
            next = max(next, answer.header.revision + 1)
            return progress(at: next - 1)
        }
        return events(answer)
    }

    private func ended(_ answer: Etcdserverpb_WatchResponse) throws(BerthError) -> StreamStep<WatchBatch> {
        if answer.compactRevision > 0 { throw .compacted(revision: answer.compactRevision) }
        if answer.cancelReason.isEmpty { return .reopen }
        if answer.cancelReason.contains("watcher range is empty") { throw .invalid("the range \(range) holds no key") }
        throw BerthError.byText(answer.cancelReason) ?? .server(code: 9, message: answer.cancelReason)
    }

    private func progress(at revision: Int64) -> StreamStep<WatchBatch> {
        options.progress ? .element(WatchBatch(revision: revision, events: [], isComplete: true)) : .nothing
    }

    private mutating func events(_ answer: Etcdserverpb_WatchResponse) -> StreamStep<WatchBatch> {
        // Revisions grow within an answer.
        guard let last = answer.events.last?.kv.modRevision, last >= next else { return .nothing }
        var fresh: [WatchEvent] = []
        fresh.reserveCapacity(answer.events.count)
        for wire in answer.events {
            let revision = wire.kv.modRevision
            guard revision >= next else { continue }
            if revision > next {
                next = revision
                delivered = 0
                toSkip = 0
            }
            if toSkip > 0 {
                toSkip -= 1
                continue
            }
            delivered += 1
            fresh.append(WatchEvent(wire))
        }
        if !answer.fragment {
            next = last + 1
            delivered = 0
            toSkip = 0
        }
        guard !fresh.isEmpty else { return .nothing }
        return .element(WatchBatch(revision: last, events: fresh, isComplete: !answer.fragment))
    }
}

extension WatchEvent {
    init(_ wire: Mvccpb_Event) {
        kind = wire.type == .delete ? .delete : .put
        current = KeyValue(wire.kv)
        previous = wire.hasPrevKv ? KeyValue(wire.prevKv) : nil
    }
}
