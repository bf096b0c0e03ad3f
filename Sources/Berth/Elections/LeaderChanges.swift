import EtcdAPI
import SwiftProtobuf

/// Who leads, change by change. Held back by flow control when it is not read.
public struct LeaderChanges: AsyncSequence, Sendable {
    /// One change after the other.
    public typealias Element = LeaderChange
    /// `.compacted` when history went before it was read.
    public typealias Failure = BerthError

    let core: ClientCore
    let name: String
    let from: Int64

    /// Reads one change after the other.
    public struct AsyncIterator: AsyncIteratorProtocol {
        var reader: LeaderReader

        /// The next change; nil only after an error.
        public mutating func next() async throws(BerthError) -> LeaderChange? { try await reader.next() }

        /// The next change; nil only after an error.
        public mutating func next(isolation: isolated (any Actor)?) async throws(BerthError) -> LeaderChange? {
            try await reader.next()
        }
    }

    /// Starts observing.
    public func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(reader: LeaderReader(core.caller, name: name, from: from))
    }
}

/// Observes an election through `berth.v1`, or the etcd way once a server turns out to lack it.
struct LeaderReader: Sendable {
    private enum Source: Sendable {
        case undecided(ResumingReader<ElectionObserveDialect>)
        case berth(ResumingReader<ElectionObserveDialect>)
        case etcd(EtcdLeaderReader)
        case over
    }
    private let caller: Caller
    private let name: String
    private let from: Int64
    private var source: Source

    init(_ caller: Caller, name: String, from: Int64) {
        self.caller = caller
        self.name = name
        self.from = from
        source = .undecided(ResumingReader(caller, ElectionObserveDialect(name: Bytes(name), next: from)))
    }

    mutating func next() async throws(BerthError) -> LeaderChange? {
        let present = source
        source = .over
        switch present {
        case .undecided(var reader):
            do throws(BerthError) {
                let change = try await reader.next()
                source = .berth(reader)
                return change
            } catch .unsupported(let what) where what.contains("berth.v1") {
                source = .etcd(EtcdLeaderReader(caller, name: name, from: from))
                return try await next()
            }
        case .berth(var reader):
            let change = try await reader.next()
            source = .berth(reader)
            return change
        case .etcd(var reader):
            let change = try await reader.next()
            source = .etcd(reader)
            return change
        case .over: return nil
        }
    }
}

/// Observing an election through `berth.v1`. Pure.
struct ElectionObserveDialect: StreamDialect {
    let path = Methods.electionObservePath
    let staysOpen = false
    let name: Bytes
    var next: Int64

    func request() throws(BerthError) -> [UInt8] {
        let request = Berth_V1_ElectionObserveRequest.with {
            $0.name = name.data
            $0.startRevision = next
        }
        do { return try request.serializedBytes() } catch { throw .invalid("\(error)") }
    }

    mutating func take(_ message: [UInt8]) throws(BerthError) -> StreamStep<LeaderChange> {
        guard let answer = try? Berth_V1_ElectionObserveResponse(serializedBytes: message) else {
            throw .server(code: 13, message: "an answer that cannot be read")
        }
        guard answer.revision >= next else { return .nothing }
        next = answer.revision + 1
        let leader = answer.hasLeader ? answer.leader : nil
        return .element(
            LeaderChange(
                leader: leader.map {
                    Leader(
                        key: Bytes($0.key), token: $0.token, lease: LeaseID($0.lease), value: Bytes(answer.value),
                        owner: answer.owner)
                },
                revision: answer.revision))
    }
}
