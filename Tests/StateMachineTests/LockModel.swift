import EtcdAPI
import StateMachine
import Store
import Vocabulary

/// Lines, holders and guards as plainly as they can be said: lists, looked through from the start each time.
struct LockModel {
    struct Place: Equatable {
        var name: String
        var lease: Int64
        var token: Int64
        var mode = LockMode.exclusive
        var permits: Int64 = 0
        var guards: [(key: String, end: String)] = []
        var isProtected = false
        var ownsLease = false

        var key: String { "\(name)/\(String(lease, radix: 16))" }

        static func == (a: Place, b: Place) -> Bool { a.key == b.key && a.token == b.token }
    }

    /// A change in a line, as events tell it.
    struct Happening: Equatable {
        var kind: LineEventKind
        var token: Int64
    }

    var lines: [String: [Place]] = [:]
    /// Plain keys, which no lease owns.
    var keys: Set<String> = []
    var leases: Set<Int64> = []

    var places: [Place] { lines.values.flatMap { $0 } }

    /// The longest compatible run at the head.
    static func holders(_ line: [Place]) -> [Place] {
        var holders: [Place] = []
        for place in line {
            guard let first = holders.first else {
                holders.append(place)
                continue
            }
            guard first.mode == place.mode else { break }
            if place.mode == .exclusive { break }
            if place.mode == .permit, holders.count >= place.permits { break }
            holders.append(place)
        }
        return holders
    }

    func holders(_ name: String) -> [Place] { Self.holders(lines[name] ?? []) }

    /// Whether a write of `key` is refused, given the places that are proven. What is a place, or becomes one, is covered by
    /// no guard.
    func refuses(_ key: String, isPlace: Bool = false, _ proofs: [(key: String, token: Int64)] = []) -> Bool {
        func isProven(_ place: Place) -> Bool { proofs.contains { $0.key == place.key && $0.token == place.token } }
        if let own = places.first(where: { $0.key == key }), own.isProtected, !isProven(own) { return true }
        guard !isPlace else { return false }
        return lines.keys.contains { name in
            let holders = holders(name)
            let isGuarded = holders.contains { place in
                place.guards.contains { KeyRange(key: utf8($0.key), end: utf8($0.end)).contains(utf8(key)) }
            }
            return isGuarded && !holders.contains(where: isProven)
        }
    }

    /// Whether a deletion of a range is refused.
    func refuses(deleting range: KeyRange, _ proofs: [(key: String, token: Int64)] = []) -> Bool {
        allKeys.contains { key in
            range.contains(utf8(key)) && refuses(key, isPlace: places.contains { $0.key == key }, proofs)
        }
    }

    var allKeys: Set<String> { keys.union(places.map(\.key)) }

    mutating func enter(_ place: Place) -> [Happening] {
        lines[place.name, default: []].append(place)
        let holds = holders(place.name).contains(place)
        return [Happening(kind: .queued, token: place.token)]
            + (holds ? [Happening(kind: .acquired, token: place.token)] : [])
    }

    /// Takes places out at once, for a reason; nil means their owners' own will. Turns are granted when all are gone.
    mutating func leave(_ leaving: [Place], _ reason: LineEventKind? = nil) -> [Happening] {
        var before: [(name: String, holders: [Place])] = []
        var happened: [Happening] = []
        for place in leaving {
            if !before.contains(where: { $0.name == place.name }) { before.append((place.name, holders(place.name))) }
            let held = before.contains { $0.name == place.name && $0.holders.contains(place) }
            happened.append(Happening(kind: reason ?? (held ? .released : .gaveUp), token: place.token))
            lines[place.name]?.removeAll { $0 == place }
            if lines[place.name]?.isEmpty ?? false { lines[place.name] = nil }
        }
        for (name, former) in before {
            let granted = holders(name).filter { !former.contains($0) }
            happened += granted.map { Happening(kind: .acquired, token: $0.token) }
        }
        return happened
    }

    /// Ends a lease: its places go in the order of their keys' bytes.
    mutating func endLease(_ lease: Int64, _ reason: LineEventKind? = nil) -> [Happening] {
        leases.remove(lease)
        return leave(inOrderOfKeys { $0.lease == lease }, reason)
    }

    /// The places that fit, as a walk over their keys meets them.
    func inOrderOfKeys(_ fits: (Place) -> Bool) -> [Place] {
        places.filter(fits).sorted { utf8($0.key).lexicographicallyPrecedes(utf8($1.key)) }
    }
}
