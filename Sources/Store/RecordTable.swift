package import Vocabulary

/// The small tables beside the keys. Their contents are the state machine's; the store keeps bytes.
public enum RecordTable: UInt8, CaseIterable, Sendable {
    /// Leases.
    case leases = 1
    /// Which keys are attached to which lease.
    case leaseKeys = 2
    /// Raised alarms.
    case alarms = 3
    /// Members of the cluster.
    case members = 4
    /// Users.
    case users = 5
    /// Roles.
    case roles = 6
    /// Single values that belong to none of the others.
    case meta = 7
    /// What clients of `berth.v1` said of their places in line.
    case places = 8
    /// What happened in the lines, by revision: a history, compacted with the keys'.
    case lineEvents = 9

    /// A history: its keys begin with a revision, 8 bytes big-endian, and compaction takes those below its revision.
    var isHistory: Bool { self == .lineEvents }

    /// The table's database in base. The store's own facts are in `meta`, so the last one has another name.
    var databaseName: String {
        switch self {
        case .leases: "leases"
        case .leaseKeys: "lease_keys"
        case .alarms: "alarms"
        case .members: "members"
        case .users: "users"
        case .roles: "roles"
        case .meta: "settings"
        case .places: "places"
        case .lineEvents: "line_events"
        }
    }
}

extension Revision {
    /// Eight bytes, big-endian: how the keys of a history table's records begin.
    package var recordKey: [UInt8] { withUnsafeBytes(of: UInt64(bitPattern: value).bigEndian) { Array($0) } }
}
