import EtcdAPI
import Store
import Vocabulary

/// How many places hang on a lease.
struct PlaceCount {
    private(set) var places = 0
    /// Those whose lease was granted by an acquire, and ends with the last of them.
    private(set) var owning = 0

    mutating func add(_ place: LockPlace) {
        places += 1
        if place.terms.ownsLease { owning += 1 }
    }

    mutating func remove(_ place: LockPlace) {
        places -= 1
        if place.terms.ownsLease { owning -= 1 }
    }
}

/// All lines, and the guards of those that are held. Rebuilt from the store at start, then kept by apply.
///
/// Isolation: the log thread.
final class LineTable {
    private var lines = BytesTable<LockLine>()
    /// The same by name, for lists, but for those in `unordered`.
    private var ordered = IntervalTree<LockLine>()
    /// The youngest lines, some of which are gone: most come and go between two lists.
    private var unordered: [LockLine] = []
    /// At that many they are put in order: what a new line, or a list, may have to wait for.
    private static let mostUnordered = 256
    private var byLease: [LeaseID: PlaceCount] = [:]
    /// Lines that lost a place since turns were granted, in the order in which they did.
    private var touched: [LockLine] = []
    private var census = LineCensus()
    var guards = GuardIndex()
    /// Whether `grantTurns` has lines to look at.
    var hasLeavings: Bool { !touched.isEmpty }

    subscript(name: [UInt8]) -> LockLine? { lines[name] }

    /// The line with a name, made if need be.
    func line(named name: [UInt8]) -> LockLine {
        if let line = lines[name] { return line }
        if unordered.count == Self.mostUnordered { order() }
        let line = LockLine(name: name)
        lines[name] = line
        unordered.append(line)
        return line
    }

    private func order() {
        for line in unordered where line.count > 0 {
            ordered.insert(line, at: KeyRange(key: line.name, end: []))
            line.isOrdered = true
        }
        unordered.removeAll(keepingCapacity: true)
    }

    /// Lets a place in; tells whether it holds.
    func enter(_ place: LockPlace, _ line: LockLine) -> Bool {
        if place.terms.isProtected { guards.protect(place, of: line) }
        byLease[place.lease, default: PlaceCount()].add(place)
        census.grew(to: line.count + 1)
        let holds = line.enter(place)
        if holds { census.holders += 1 }
        if holds { guards.add(place.terms.guards, of: line) }
        return holds
    }

    /// Takes a place out; tells how many stood before it. The next in line hold from `grantTurns` on.
    func remove(_ place: LockPlace, _ line: LockLine) -> Int {
        if place.terms.isProtected { guards.unprotect(place) }
        if place.holds { guards.remove(place.terms.guards, of: line) }
        byLease[place.lease]?.remove(place)
        if byLease[place.lease]?.places == 0 { byLease[place.lease] = nil }
        let ahead = line.remove(place)
        census.shrank(from: line.count + 1)
        if place.holds { census.holders -= 1 }
        if line.count == 0 {
            lines[line.name] = nil
            if line.isOrdered { ordered.remove(KeyRange(key: line.name, end: [])) }
        } else if !touched.contains(where: { $0 === line }) {
            touched.append(line)
        }
        return ahead
    }

    /// Lets those hold whose turn came by what was removed since the last call: only at the end of an entry, because an
    /// entry may remove several places of one line, and none of them ever holds.
    func grantTurns() -> [(place: LockPlace, line: LockLine)] {
        guard !touched.isEmpty else { return [] }
        var granted: [(place: LockPlace, line: LockLine)] = []
        for line in touched {
            for place in line.grantTurns() {
                census.holders += 1
                guards.add(place.terms.guards, of: line)
                granted.append((place, line))
            }
        }
        touched = []
        return granted
    }

    /// Tells how many stand in how many lines.
    func show(in counts: StateMachineCounts) {
        counts.set(.lines, census.lines)
        counts.set(.longestLine, census.longest)
        counts.set(.placesHolding, census.holders)
        counts.set(.placesWaiting, census.places - census.holders)
    }

    /// What hangs on a lease, in whatever lines.
    func places(of lease: LeaseID) -> PlaceCount { byLease[lease] ?? PlaceCount() }

    /// Visits the lines in order of their names, from `start` on.
    func forEach(from start: [UInt8], _ visit: (LockLine) -> Visit) {
        order()
        ordered.forEach(from: start, visit)
    }

    /// The places there are, from the keys that hang on leases.
    static func load(from store: Store, _ leases: LeaseTable) throws(StoreError) -> LineTable {
        var found: [(name: [UInt8], key: [UInt8], lease: LeaseID, entered: LeaseTable.Attachment)] = []
        leases.forEachAttachment { key, lease, attachment in
            let nameCount = key.withUnsafeBytes { QueueKey.nameCount(of: $0, lease: lease) }
            if let nameCount { found.append((Array(key.prefix(nameCount)), key, lease, attachment)) }
        }
        found.sort { $0.entered < $1.entered }
        var records: [Revision: PlaceRecord] = [:]
        try visitRecords(of: store, in: .places) { (_, value) throws(StoreError) in
            let record = try PlaceRecord(value)
            records[record.token] = record
        }
        let table = LineTable()
        do {
            try store.withSnapshot { snapshot in
                for place in found {
                    let stored = try place.key.withUnsafeBytes {
                        try snapshot.record(of: $0, at: snapshot.revision)
                    }
                    guard let stored else {
                        throw StoreError.corrupt(
                            place: "lease_keys", detail: "lease \(place.lease) holds a key that is absent")
                    }
                    let record = records[stored.createRevision].flatMap { $0.key == place.key ? $0 : nil }
                    let restored = LockPlace(
                        key: place.key, token: stored.createRevision, lease: place.lease,
                        terms: record?.terms ?? PlaceTerms(), entered: place.entered)
                    restored.acquiredAt = record?.acquiredAt ?? 0
                    restored.claim = record?.claim ?? 0
                    _ = table.enter(restored, table.line(named: place.name))
                }
            }
        } catch let error as StoreError {
            throw error
        } catch {
            throw .corrupt(place: "places", detail: "\(error)")
        }
        return table
    }
}
