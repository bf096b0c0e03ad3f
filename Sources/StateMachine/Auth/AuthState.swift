public import EtcdAPI
public import Store

/// All users, roles and the switch, at one moment. A value: what an event loop holds never changes under it.
public struct AuthState: Sendable {
    /// Whether callers are asked who they are.
    public internal(set) var isEnabled = false
    /// Counts what was done to users, roles and the switch; 1 in a fresh store.
    public internal(set) var revision: UInt64 = 1
    /// The users by name.
    public internal(set) var users: [AuthName: AuthUser] = [:]
    /// The roles by name.
    public internal(set) var roles: [AuthName: AuthRole] = [:]
    /// How many passwords are hashed at which bcrypt cost.
    private var passwordCosts: [Int: Int] = [:]

    /// The bcrypt cost that most passwords are hashed with, of equals the highest; nil without passwords.
    public var usualPasswordCost: Int? {
        passwordCosts.max { ($0.value, $0.key) < ($1.value, $1.key) }?.key
    }

    /// Puts a user in, takes one out, and counts their password's cost.
    mutating func set(_ user: AuthUser?, named name: AuthName) {
        if let cost = users[name]?.passwordCost {
            let count = passwordCosts[cost, default: 1] - 1
            passwordCosts[cost] = count > 0 ? count : nil
        }
        users[name] = user
        if let cost = user?.passwordCost { passwordCosts[cost, default: 0] += 1 }
    }

    /// Reckons anew what a user's roles come to. A role that is not there, as `root` may be, permits nothing here.
    mutating func refresh(_ name: AuthName) {
        guard var user = users[name] else { return }
        var readable: [KeyRange] = []
        var writable: [KeyRange] = []
        for role in user.roles {
            for permission in roles[role]?.permissions ?? [] {
                if permission.kind.reads { readable.append(permission.range) }
                if permission.kind.writes { writable.append(permission.range) }
            }
        }
        user.readable = RangeSet(readable)
        user.writable = RangeSet(writable)
        users[name] = user
    }

    // MARK: - Judging

    /// What is done with keys.
    public enum Access: Sendable {
        case read
        case write
    }

    /// Refuses whoever may not do this with all keys that a request's `key` and `end` name. The rules, and their order, are
    /// etcd's (`server/auth/store.go`, `isOpPermitted`).
    public func permit(
        _ author: Author?, _ access: Access, _ key: UnsafeRawBufferPointer, _ end: UnsafeRawBufferPointer
    ) throws(EtcdError) {
        guard isEnabled else { return }
        guard let author else { throw .userEmpty }
        guard author.authRevision >= revision else { throw .authRevisionOld }
        guard let user = users[author.name] else { throw .permissionDenied }
        guard !user.isRoot else { return }
        let reached = access == .read ? user.readable : user.writable
        guard reached.covers(key, end) else { throw .permissionDenied }
    }

    /// The same for a range held apart from a request.
    public func permit(_ author: Author?, _ access: Access, _ range: KeyRange) throws(EtcdError) {
        try range.key.withRawBytes { key throws(EtcdError) in
            try range.end.withRawBytes { end throws(EtcdError) in try permit(author, access, key, end) }
        }
    }

    /// The same for each of some single keys, such as those of a lease. Who may do everything is not held to a revision, and
    /// without keys there is nothing to refuse: etcd's rules for leases.
    public func permit(_ author: Author?, _ access: Access, keys: [[UInt8]]) throws(EtcdError) {
        guard isEnabled, !isRoot(author) else { return }
        for key in keys { try permit(author, access, KeyRange(key: key, end: [])) }
    }

    /// Refuses whoever does not hold the role `root`.
    public func permitRoot(_ author: Author?) throws(EtcdError) {
        guard isEnabled else { return }
        guard let author, !author.name.bytes.isEmpty else { throw .userEmpty }
        guard let user = users[author.name] else { throw .userNotFound }
        guard user.isRoot else { throw .permissionDenied }
    }

    func isRoot(_ author: Author?) -> Bool {
        author.flatMap { users[$0.name] }?.isRoot ?? false
    }
}

extension AuthUser {
    /// The cost written in a bcrypt hash, as in `$2a$10$`; nil for what is none.
    fileprivate var passwordCost: Int? {
        guard password.count == 60, password[3] == UInt8(ascii: "$"), password[6] == UInt8(ascii: "$") else {
            return nil
        }
        return Int(String(decoding: password[4..<6], as: UTF8.self)).flatMap { 4...31 ~= $0 ? $0 : nil }
    }
}
