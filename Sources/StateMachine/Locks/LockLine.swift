import DequeModule
package import EtcdAPI
package import Vocabulary

/// Who of a line holds: the longest run of compatible places at its head. A pure rule, so that whoever knows the line
/// knows its holders.
///
/// - A place that is alone at the head holds.
/// - Behind a shared holder a shared place holds; behind a permit's holder a permit, while there are fewer holders than
///   *its own* number of permits.
/// - Nobody overtakes: the first place that does not hold ends the run.
///
/// A place that leaves only makes the run in front of the others shorter, so who holds goes on holding.
package struct HolderRule {
    /// Holders so far.
    package private(set) var count = 0
    private var mode = LockMode.exclusive

    package init() {}

    /// Whether a place right behind the holders would hold too.
    package func admits(_ mode: LockMode, permits: Int64) -> Bool {
        guard count > 0 else { return true }
        guard mode == self.mode else { return false }
        switch mode {
        case .exclusive: return false
        case .shared: return true
        case .permit: return Int64(count) < permits
        }
    }

    /// Adds a place that is admitted.
    package mutating func add(_ mode: LockMode) {
        self.mode = mode
        count += 1
    }

    /// A holder left.
    mutating func removeOne() { count -= 1 }
}

/// A lock's line, oldest place first.
///
/// Isolation: the log thread.
package final class LockLine {
    package let name: [UInt8]
    private var places = Deque<LockPlace>()
    private var rule = HolderRule()
    /// Whether the table has it in the order of names.
    var isOrdered = false

    init(name: [UInt8]) { self.name = name }

    package var count: Int { places.count }
    package var holderCount: Int { rule.count }
    package var first: LockPlace? { places.first }

    func prefix(_ count: Int) -> Deque<LockPlace>.SubSequence { places.prefix(count) }

    /// Whether a place that came now would hold at once.
    func wouldHold(_ mode: LockMode, permits: Int64) -> Bool {
        rule.count == places.count && rule.admits(mode, permits: permits)
    }

    /// Lets a place in at the end; tells whether it holds.
    func enter(_ place: LockPlace) -> Bool {
        if let last = places.last {
            precondition(last.entered < place.entered, "places enter a line in the order in which they came")
        }
        places.append(place)
        guard wouldHoldAtEnd(place) else { return false }
        hold(place)
        return true
    }

    private func wouldHoldAtEnd(_ place: LockPlace) -> Bool {
        rule.count == places.count - 1 && rule.admits(place.terms.mode, permits: place.terms.permits)
    }

    private func hold(_ place: LockPlace) {
        rule.add(place.terms.mode)
        place.holds = true
    }

    /// Takes a place out; tells how many stood before it. Nobody holds in its stead before `grantTurns`.
    func remove(_ place: LockPlace) -> Int {
        let position = position(of: place.entered)
        precondition(position < places.count && places[position] === place, "a place to remove stands in its line")
        places.remove(at: position)
        if place.holds { rule.removeOne() }
        return position
    }

    /// Lets those hold whose turn it is; tells who.
    func grantTurns() -> [LockPlace] {
        var granted: [LockPlace] = []
        while rule.count < places.count {
            let next = places[rule.count]
            guard rule.admits(next.terms.mode, permits: next.terms.permits) else { break }
            hold(next)
            granted.append(next)
        }
        return granted
    }

    /// The place that entered with a write; nil when it is not in line.
    func place(entered: LeaseTable.Attachment) -> LockPlace? {
        let position = position(of: entered)
        guard position < places.count, places[position].entered == entered else { return nil }
        return places[position]
    }

    /// The place with a token; nil when it is not in line. Looks at those that entered when their key was created, as
    /// all do but hand-made ones.
    package func place(token: Revision) -> LockPlace? {
        var position = position(of: LeaseTable.Attachment(revision: token, sub: 0))
        while position < places.count, places[position].entered.revision == token {
            if places[position].token == token { return places[position] }
            position += 1
        }
        return places.first { $0.token == token }
    }

    /// Whether a key with a create revision is a holder's.
    func isHolder(_ key: UnsafeRawBufferPointer, token: Revision) -> Bool {
        var position = position(of: LeaseTable.Attachment(revision: token, sub: 0))
        while position < rule.count, places[position].entered.revision == token {
            if places[position].token == token, places[position].key.elementsEqual(key) { return true }
            position += 1
        }
        return false
    }

    /// How many stand before a place.
    func ahead(of place: LockPlace) -> Int { position(of: place.entered) }

    /// The first position whose place came no earlier.
    private func position(of entered: LeaseTable.Attachment) -> Int {
        var low = 0
        var high = places.count
        while low < high {
            let middle = (low + high) / 2
            if places[middle].entered < entered { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
