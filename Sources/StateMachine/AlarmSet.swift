import EtcdAPI
import Store
import Synchronization

/// The alarms that are active: which kind, raised for which member.
///
/// Written by apply on the log thread, read from anywhere. The two that refuse writes are asked for with every write,
/// so they are kept as a flag beside the list that a mutex guards.
public final class AlarmSet: Sendable {
    /// What an alarm warns of.
    public enum Kind: Int64, CaseIterable, Sendable {
        /// The quota was reached.
        case noSpace = 1
        /// A member's data differs.
        case corrupt = 2
    }

    /// An active alarm.
    public struct Alarm: Hashable, Comparable, Sendable {
        /// What it warns of.
        public let kind: Kind
        /// The member it was raised for, as the request said; nobody checks that it exists.
        public let memberID: UInt64

        /// By kind, then member.
        public static func < (a: Alarm, b: Alarm) -> Bool {
            (a.kind.rawValue, a.memberID) < (b.kind.rawValue, b.memberID)
        }

        /// Reads the name of a record of the store's table of alarms; nil when it is none.
        public init?(recordKey: [UInt8]) {
            guard recordKey.count == 16 else { return nil }
            let numbers = [recordKey[..<8], recordKey[8...]].map { $0.reduce(UInt64(0)) { $0 << 8 | UInt64($1) } }
            guard let kind = Kind(rawValue: Int64(bitPattern: numbers[0])) else { return nil }
            self.init(kind: kind, memberID: numbers[1])
        }

        package init(kind: Kind, memberID: UInt64) {
            self.kind = kind
            self.memberID = memberID
        }

        /// Kind and member, 8 bytes each, big-endian.
        package var recordKey: [UInt8] {
            withUnsafeBytes(of: kind.rawValue.bigEndian) { Array($0) }
                + withUnsafeBytes(of: memberID.bigEndian) { Array($0) }
        }
    }

    private let alarms = Mutex<[Alarm]>([])
    /// One bit a kind; changes under the mutex only.
    private let active = Atomic<Int64>(0)

    package init() {}

    /// Whether an alarm of this kind is active for any member.
    public func contains(_ kind: Kind) -> Bool {
        active.load(ordering: .acquiring) & 1 << kind.rawValue != 0
    }

    /// The active alarms of one kind, or all with nil, by kind and member.
    public func list(_ kind: Kind? = nil) -> [Alarm] {
        let all = alarms.withLock { $0 }
        return kind.map { wanted in all.filter { $0.kind == wanted } } ?? all
    }

    /// Refuses a write that an active alarm forbids. One that adds data needs room, one that only removes does not.
    func refuseWrite(thatGrows: Bool) throws(EtcdError) {
        let bits = active.load(ordering: .acquiring)
        guard bits != 0 else { return }
        if bits & 1 << Kind.corrupt.rawValue != 0 { throw .corrupt }
        if thatGrows, bits & 1 << Kind.noSpace.rawValue != 0 { throw .noSpace }
    }

    /// Whether this changed anything.
    func activate(_ alarm: Alarm) -> Bool {
        change { list in
            guard !list.contains(alarm) else { return false }
            list.append(alarm)
            list.sort()
            return true
        }
    }

    /// Whether this changed anything.
    func deactivate(_ alarm: Alarm) -> Bool {
        change { list in
            guard let position = list.firstIndex(of: alarm) else { return false }
            list.remove(at: position)
            return true
        }
    }

    private func change(_ body: (inout [Alarm]) -> Bool) -> Bool {
        alarms.withLock { list in
            let changed = body(&list)
            active.store(list.reduce(0) { $0 | 1 << $1.kind.rawValue }, ordering: .releasing)
            return changed
        }
    }

    func load(from store: Store) throws(StoreError) {
        try visitRecords(of: store, in: .alarms) { (key, _) throws(StoreError) in
            guard let alarm = Alarm(recordKey: key) else {
                throw .corrupt(place: "alarms", detail: "a record name that is no alarm: \(key)")
            }
            _ = activate(alarm)
        }
    }

}
