import EtcdAPI
import SwiftProtobuf

/// A client of a Berth cluster, and of any etcd for what etcd has. Make one and share it: it is safe everywhere, keeps
/// one connection, and renews all its leases on one stream.
///
/// ```swift
/// try await BerthClient.with(BerthConfiguration(endpoints: ["http://127.0.0.1:2379"])) { client in
///     try await client.withLock("order:123", for: .seconds(10)) { lock in
///         try await lock.put("shipped")
///     }
/// }
/// ```
public final class BerthClient: Sendable {
    let core: ClientCore

    /// A client that connects when it is first used.
    ///
    /// - Throws: `.invalid` for endpoints or TLS files that make no sense.
    public init(_ configuration: BerthConfiguration = .init()) throws(BerthError) {
        core = try ClientCore(configuration)
    }

    /// Ends all calls, renewals and connections, and returns when they are gone. Release locks first: those still held
    /// run out with their leases. Harmless when repeated.
    public func close() async { await core.close() }

    deinit {
        // Whoever forgot to close it still gets its tasks ended; nobody waits for them then.
        core.stop()
    }

    /// Makes a client, and closes it when `body` has ended.
    @discardableResult
    public static func with<Value>(
        _ configuration: BerthConfiguration = .init(), isolation: isolated (any Actor)? = #isolation,
        _ body: (BerthClient) async throws -> Value
    ) async throws -> Value {
        let client = try BerthClient(configuration)
        do {
            let value = try await body(client)
            await client.close()
            return value
        } catch {
            await client.close()
            throw error
        }
    }

    /// Keys and values.
    public var kv: KV { core.kv }
    /// Leases.
    public var leases: Leases { core.leases }
    /// Locks.
    public var locks: Locks { Locks(core: core) }
    /// Elections.
    public var elections: Elections { Elections(core: core) }

    /// What the present server says of itself.
    public func status() async throws(BerthError) -> MemberStatus {
        MemberStatus(try await core.caller.call(Methods.status, .init()))
    }

    /// Tells what happens to a key or a range.
    ///
    /// ```swift
    /// for try await batch in client.watch(.prefix("orders/")) {
    ///     for event in batch.events { print(event.kind, event.key, event.value) }
    /// }
    /// ```
    /// - Parameters:
    ///   - range: which keys; a literal is one key.
    ///   - revision: the first revision to tell of; nil means from when the watch stands.
    public func watch(_ range: KeyRange, from revision: Int64? = nil, options: WatchOptions = .init()) -> Watch {
        Watch(caller: core.caller, dialect: WatchDialect(range, from: revision, options: options))
    }
}

/// What a server says of itself.
public struct MemberStatus: Sendable, Hashable {
    /// The version of etcd's API it speaks, as `3.5.33`.
    public var version: String
    /// Names the cluster.
    public var clusterID: UInt64
    /// Names the server in it.
    public var memberID: UInt64
    /// The member that leads; 0 without one.
    public var leader: UInt64
    /// The store's revision.
    public var revision: Int64
    /// Bytes the store takes on disk.
    public var sizeInBytes: Int64
    /// Bytes of these in use.
    public var sizeInUse: Int64
    /// The reign of the leader.
    public var raftTerm: UInt64
    /// Entries committed to the log.
    public var raftIndex: UInt64
    /// Entries carried out.
    public var raftAppliedIndex: UInt64
    /// Alarms and other complaints.
    public var errors: [String]

    init(_ wire: Etcdserverpb_StatusResponse) {
        version = wire.version
        clusterID = wire.header.clusterID
        memberID = wire.header.memberID
        leader = wire.leader
        revision = wire.header.revision
        sizeInBytes = wire.dbSize
        sizeInUse = wire.dbSizeInUse
        raftTerm = wire.raftTerm
        raftIndex = wire.raftIndex
        raftAppliedIndex = wire.raftAppliedIndex
        errors = wire.errors
    }
}
