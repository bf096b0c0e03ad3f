import EtcdAPI
import GRPCTransport
import StateMachine

/// What a caller needs for a method at all, by the method's path, so that a method nobody thought of is for `root` alone.
package enum AccessRule: Sendable, Equatable {
    /// Anybody: the method gives out who somebody is, or nothing that needs it.
    case open
    /// The method asks for itself, as it depends on the request.
    case own
    /// Whoever is known, with whatever rights.
    case known
    /// The role `root`.
    case root
    /// The role `root`, and the refusal in the words in which etcd 3.5 leaves it: not those that clients look for.
    case rootUntranslated

    /// Rules of etcd 3.5.33; `berth.v1` follows them.
    package static func rule(for path: String) -> AccessRule {
        if let rule = rules[path] { return rule }
        // Health checks and reflection tell nothing of what is stored.
        if path.hasPrefix("/grpc.") { return .open }
        return prefixes.first { path.hasPrefix($0) } == nil ? .root : .own
    }

    /// Services whose methods all ask for themselves.
    private static let prefixes = [
        "/etcdserverpb.Watch/", "/v3lockpb.Lock/", "/v3electionpb.Election/", "/berth.v1.Locks/",
        "/berth.v1.Elections/",
    ]

    private static let rules: [String: AccessRule] = [
        "/etcdserverpb.KV/Range": .own,
        "/etcdserverpb.KV/Put": .own,
        "/etcdserverpb.KV/DeleteRange": .own,
        "/etcdserverpb.KV/Txn": .own,
        "/etcdserverpb.KV/Compact": .root,
        "/etcdserverpb.Lease/LeaseGrant": .known,
        "/etcdserverpb.Lease/LeaseRevoke": .own,
        "/etcdserverpb.Lease/LeaseTimeToLive": .own,
        "/etcdserverpb.Lease/LeaseLeases": .own,
        "/etcdserverpb.Lease/LeaseKeepAlive": .own,
        "/etcdserverpb.Cluster/MemberList": .known,
        "/etcdserverpb.Maintenance/Alarm": .own,
        "/etcdserverpb.Maintenance/Status": .known,
        "/etcdserverpb.Maintenance/Defragment": .rootUntranslated,
        "/etcdserverpb.Maintenance/Hash": .rootUntranslated,
        "/etcdserverpb.Maintenance/HashKV": .rootUntranslated,
        "/etcdserverpb.Maintenance/Snapshot": .rootUntranslated,
        "/etcdserverpb.Auth/Authenticate": .open,
        "/etcdserverpb.Auth/UserGet": .own,
        "/etcdserverpb.Auth/RoleGet": .own,
    ]

    /// Puts the rules before a table's methods.
    static func apply(_ access: AccessControl, to table: inout ServiceTable) {
        table.admit { path in
            let rule = rule(for: path)
            guard rule != .open, rule != .own else { return nil }
            return { call in
                guard access.table.isEnabled else { return nil }
                return rule.refusal(of: call, access).map { GRPCStatus($0) }
            }
        }
    }

    private func refusal(of call: ServerCall, _ access: AccessControl) -> EtcdError? {
        do throws(EtcdError) {
            switch self {
            case .open, .own: break
            case .known: _ = try access.caller(of: call)
            case .root, .rootUntranslated: try access.permitRoot(call)
            }
            return nil
        } catch {
            return self == .rootUntranslated ? error.asUntranslatedAuth : error
        }
    }
}
