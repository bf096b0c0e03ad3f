/// Which path answers for which method: the one list of the gateway. What a method takes, gives and streams comes from
/// the service descriptions.
public struct Route: Sendable, Hashable {
    /// What follows `/v3/`.
    public let path: String
    /// The method as gRPC names it, `/package.Service/Method`.
    public let method: String

    /// All of them: etcd's, then Berth's own services under `berth/`.
    public static let all: [Route] =
        table(
            "etcdserverpb.KV",
            [
                "kv/range": "Range", "kv/put": "Put", "kv/deleterange": "DeleteRange", "kv/txn": "Txn",
                "kv/compaction": "Compact",
            ])
        + table("etcdserverpb.Watch", ["watch": "Watch"])
        + table(
            "etcdserverpb.Lease",
            [
                "lease/grant": "LeaseGrant", "lease/revoke": "LeaseRevoke", "kv/lease/revoke": "LeaseRevoke",
                "lease/keepalive": "LeaseKeepAlive", "lease/timetolive": "LeaseTimeToLive",
                "kv/lease/timetolive": "LeaseTimeToLive", "lease/leases": "LeaseLeases",
                "kv/lease/leases": "LeaseLeases",
            ])
        + table(
            "etcdserverpb.Cluster",
            [
                "cluster/member/add": "MemberAdd", "cluster/member/remove": "MemberRemove",
                "cluster/member/update": "MemberUpdate", "cluster/member/list": "MemberList",
                "cluster/member/promote": "MemberPromote",
            ])
        + table(
            "etcdserverpb.Maintenance",
            [
                "maintenance/alarm": "Alarm", "maintenance/status": "Status", "maintenance/defragment": "Defragment",
                "maintenance/hash": "Hash", "maintenance/hashkv": "HashKV", "maintenance/snapshot": "Snapshot",
                "maintenance/transfer-leadership": "MoveLeader", "maintenance/downgrade": "Downgrade",
            ])
        + table(
            "etcdserverpb.Auth",
            [
                "auth/enable": "AuthEnable", "auth/disable": "AuthDisable", "auth/status": "AuthStatus",
                "auth/authenticate": "Authenticate", "auth/user/add": "UserAdd", "auth/user/get": "UserGet",
                "auth/user/list": "UserList", "auth/user/delete": "UserDelete",
                "auth/user/changepw": "UserChangePassword", "auth/user/grant": "UserGrantRole",
                "auth/user/revoke": "UserRevokeRole", "auth/role/add": "RoleAdd", "auth/role/get": "RoleGet",
                "auth/role/list": "RoleList", "auth/role/delete": "RoleDelete",
                "auth/role/grant": "RoleGrantPermission", "auth/role/revoke": "RoleRevokePermission",
            ])
        + table("v3lockpb.Lock", ["lock/lock": "Lock", "lock/unlock": "Unlock"])
        + table(
            "v3electionpb.Election",
            [
                "election/campaign": "Campaign", "election/proclaim": "Proclaim", "election/leader": "Leader",
                "election/observe": "Observe", "election/resign": "Resign",
            ])
        + table(
            "berth.v1.Locks",
            [
                "berth/locks/acquire": "Acquire", "berth/locks/release": "Release", "berth/locks/renew": "Renew",
                "berth/locks/inspect": "Inspect", "berth/locks/list": "List", "berth/locks/observe": "Observe",
                "berth/locks/break": "Break",
            ])
        + table(
            "berth.v1.Elections",
            [
                "berth/elections/campaign": "Campaign", "berth/elections/proclaim": "Proclaim",
                "berth/elections/leader": "Leader", "berth/elections/observe": "Observe",
                "berth/elections/resign": "Resign",
            ])
        + table("berth.v1.Maintenance", ["berth/maintenance/snapshot": "Snapshot"])

    /// Services that have no route: those of gRPC's own, as with etcd.
    public static let servicesWithout: Set<String> = [
        "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
    ]

    private static func table(_ service: String, _ methods: KeyValuePairs<String, String>) -> [Route] {
        methods.map { Route(path: $0.key, method: "/\(service)/\($0.value)") }
    }
}
