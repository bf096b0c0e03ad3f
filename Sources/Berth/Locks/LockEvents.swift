import EtcdAPI
import SwiftProtobuf

/// What happens in the lines of locks, in batches of whole revisions, over broken connections. Held back by flow
/// control when it is not read.
public struct LockEvents: AsyncSequence, Sendable {
    /// The events of one or more revisions.
    public typealias Element = LockEventBatch
    /// `.compacted` when history went before it was read; `.unsupported` by a plain etcd.
    public typealias Failure = BerthError

    let caller: Caller
    let dialect: ObserveDialect

    /// Reads one batch after the other.
    public struct AsyncIterator: AsyncIteratorProtocol {
        var reader: ResumingReader<ObserveDialect>

        /// The next batch; nil only after an error.
        public mutating func next() async throws(BerthError) -> LockEventBatch? { try await reader.next() }

        /// The next batch; nil only after an error.
        public mutating func next(isolation: isolated (any Actor)?) async throws(BerthError) -> LockEventBatch? {
            try await reader.next()
        }
    }

    /// Starts observing.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(reader: ResumingReader(caller, dialect)) }
}

/// Events that came together.
public struct LockEventBatch: Sendable, Hashable {
    /// Everything up to this revision has been told: go on from the one after. A batch without events says just that.
    public var revision: Int64
    /// In order.
    public var events: [LockEvent]
}

/// Observing locks: asks from the position reached on. Pure.
struct ObserveDialect: StreamDialect {
    let path = Methods.observePath
    let staysOpen = false
    let name: Bytes
    let isPrefix: Bool
    let token: Int64
    /// The revision to tell of next; 0 before the server said where "now" is.
    var next: Int64

    func request() throws(BerthError) -> [UInt8] {
        let request = Berth_V1_ObserveRequest.with {
            $0.name = name.data
            $0.prefix = isPrefix
            $0.startRevision = next
            $0.token = token
        }
        do { return try request.serializedBytes() } catch { throw .invalid("\(error)") }
    }

    mutating func take(_ message: [UInt8]) throws(BerthError) -> StreamStep<LockEventBatch> {
        guard let answer = try? Berth_V1_ObserveResponse(serializedBytes: message) else {
            throw .server(code: 13, message: "an answer that cannot be read")
        }
        let events = answer.events.compactMap(LockEvent.init).filter { $0.revision >= next }
        next = max(next, answer.header.revision + 1)
        return .element(LockEventBatch(revision: answer.header.revision, events: events))
    }
}
