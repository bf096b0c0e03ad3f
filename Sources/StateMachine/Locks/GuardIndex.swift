import EtcdAPI
import Store
import Vocabulary

/// A statement that a key has a certain create revision, found true: what proves a holder.
struct HolderProof {
    let key: UnsafeRawBufferPointer
    let token: Revision
}

/// Which keys only certain clients may write: those that held locks guard, and the queue keys of `berth.v1`'s places.
///
/// Isolation: the log thread.
struct GuardIndex {
    /// The locks that guard one range, in the order in which they began to.
    private final class Group {
        var lines: [(line: LockLine, guards: Int)] = []
    }

    private var keys = BytesTable<Group>()
    private var ranges: [KeyRange: Group] = [:]
    private var tree = IntervalTree<Group>()
    private var protected = BytesTable<(line: LockLine, place: LockPlace)>()

    /// Nothing is guarded: what every write asks first.
    var isEmpty: Bool { keys.isEmpty && ranges.isEmpty && protected.isEmpty }

    /// A place begins to hold: its guards come into force.
    mutating func add(_ guards: [KeyRange], of line: LockLine) {
        for range in guards {
            let group: Group
            if let existing = range.isSingleKey ? keys[range.key] : ranges[range] {
                group = existing
            } else {
                group = Group()
                if range.isSingleKey {
                    keys[range.key] = group
                } else {
                    ranges[range] = group
                    tree.insert(group, at: range)
                }
            }
            if let known = group.lines.firstIndex(where: { $0.line === line }) {
                group.lines[known].guards += 1
            } else {
                group.lines.append((line, 1))
            }
        }
    }

    /// A place holds no longer.
    mutating func remove(_ guards: [KeyRange], of line: LockLine) {
        for range in guards {
            guard let group = range.isSingleKey ? keys[range.key] : ranges[range],
                let known = group.lines.firstIndex(where: { $0.line === line })
            else { preconditionFailure("a guard that ends was in force") }
            group.lines[known].guards -= 1
            if group.lines[known].guards == 0 { group.lines.remove(at: known) }
            guard group.lines.isEmpty else { continue }
            if range.isSingleKey {
                keys[range.key] = nil
            } else {
                ranges[range] = nil
                tree.remove(range)
            }
        }
    }

    mutating func protect(_ place: LockPlace, of line: LockLine) { protected[place.key] = (line, place) }

    mutating func unprotect(_ place: LockPlace) { protected[place.key] = nil }

    /// The lease a protected queue key must keep; nil for any other key.
    func leaseKept(by key: UnsafeRawBufferPointer) -> LeaseID? {
        protected.isEmpty ? nil : protected[[UInt8](key)]?.place.lease
    }

    /// Why a key must not be written; nil when it may be.
    ///
    /// - Parameter isPlace: the key is a place in a line, or becomes one. Lines are guarded by their own rules alone: a lock
    ///   whose guards happen to cover another's line must not keep its clients from entering or leaving it.
    func refusal(of key: UnsafeRawBufferPointer, isPlace: Bool, _ proofs: [HolderProof]) -> LockRefusal? {
        let name = [UInt8](key)
        if let (line, place) = protected[name], !proofs.contains(where: { Self.proves($0, place) }) {
            return refusal(of: name, line, place)
        }
        guard !isPlace else { return nil }
        var refusing: LockLine?
        func judge(_ group: Group) -> Visit {
            let unproven = group.lines.first { entry in
                !proofs.contains { entry.line.isHolder($0.key, token: $0.token) }
            }
            refusing = unproven?.line
            return refusing == nil ? .next : .stop
        }
        if let group = keys[name] { _ = judge(group) }
        if refusing == nil { tree.forEach(holding: key, judge) }
        guard let refusing, let holder = refusing.first else { return nil }
        return refusal(of: name, refusing, holder)
    }

    private static func proves(_ proof: HolderProof, _ place: LockPlace) -> Bool {
        proof.token == place.token && proof.key.elementsEqual(place.key)
    }

    private func refusal(of key: [UInt8], _ line: LockLine, _ place: LockPlace) -> LockRefusal {
        LockRefusal(
            key: key, lock: line.name, holder: place.key, token: place.token, owner: place.terms.owner,
            lease: place.lease)
    }
}
