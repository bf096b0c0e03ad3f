import DequeModule

/// Observes an election on servers without `berth.v1`: reads the line once, then follows every change of it, so that
/// no leader and no value is left out.
struct EtcdLeaderReader {
    private let caller: Caller
    private let line: KeyRange
    private let from: Int64
    private var watch: ResumingReader<WatchDialect>?
    private var model = LeaderLine()
    private var changes: Deque<LeaderChange> = []

    init(_ caller: Caller, name: String, from: Int64) {
        self.caller = caller
        self.line = .prefix(Bytes("\(name)/"))
        self.from = from
    }

    mutating func next() async throws(BerthError) -> LeaderChange? {
        while true {
            if let change = changes.popFirst() { return change }
            if watch == nil {
                try await start()
                continue
            }
            guard let batch = try await watch?.next() else { return nil }
            changes.append(contentsOf: model.apply(batch.events))
        }
    }

    /// The state just before the first revision to tell of is not told; without one, the leader there is is.
    private mutating func start() async throws(BerthError) {
        var get = Get(line, limit: nil, order: .createRevision)
        if from > 1 { get.revision = from - 1 }
        let page = try await KV(caller: caller).page(get)
        let revision = get.revision ?? page.revision
        let first = model.load(page.values)
        if from <= 0, let first { changes.append(LeaderChange(leader: first, revision: page.revision)) }
        watch = ResumingReader(caller, WatchDialect(line, from: revision + 1, options: .init()))
    }
}

/// An election's line, followed by its changes. Pure. Bounded by the number of candidates.
package struct LeaderLine {
    private var places: [Bytes: KeyValue] = [:]
    package private(set) var leader: Leader?

    /// Starts from what is there.
    package mutating func load(_ values: [KeyValue]) -> Leader? {
        places = Dictionary(values.map { ($0.key, $0) }) { $1 }
        leader = first
        return leader
    }

    private var first: Leader? { places.values.min { $0.createRevision < $1.createRevision }.map { Leader($0) } }

    /// Takes whole revisions in, and tells how the leader changed at each.
    package mutating func apply(_ events: [WatchEvent]) -> [LeaderChange] {
        var changes: [LeaderChange] = []
        for (position, event) in events.enumerated() {
            switch event.kind {
            case .put: places[event.key] = event.current
            case .delete: places[event.key] = nil
            }
            let next = position + 1 < events.count ? events[position + 1].revision : nil
            guard next != event.revision else { continue }
            let now = first
            guard now != leader else { continue }
            leader = now
            changes.append(LeaderChange(leader: now, revision: event.revision))
        }
        return changes
    }
}
