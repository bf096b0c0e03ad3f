import EtcdAPI
import SwiftProtobuf

/// Elections: one leads, the others wait in line. On a plain etcd these are its own elections, in one line with its
/// own clients.
public struct Elections: Sendable {
    let core: ClientCore

    /// Stands for election and waits until it leads. Its lease is renewed in the background until it resigns.
    ///
    /// Cancelling the task leaves the line. Nothing is left behind when this throws.
    /// - Parameters:
    ///   - value: what others see of the leader: an address, say.
    ///   - timeToLive: how long leadership lives when nothing renews it; whole seconds, at least two.
    ///   - wait: longest wait; nil waits for ever, `.zero` tries once.
    ///   - owner: shown beside the candidacy; empty means the configuration's owner.
    /// - Throws: as `Locks.acquire`.
    public func campaign(
        _ name: String, value: Bytes = [], for timeToLive: Duration = .seconds(10), wait: Duration? = nil,
        owner: String = ""
    ) async throws(BerthError) -> Leadership {
        let core = core
        let place = try await core.byDialect { () async throws(BerthError) -> HeldPlace in
            let attempt = Acquisition(core: core, name: name, timeToLive: timeToLive, wait: wait)
            return try await attempt.run { () async throws(BerthError) -> Acquisition.Answer in
                let request = Berth_V1_CampaignRequest.with {
                    $0.name = Bytes(name).data
                    $0.value = value.data
                    $0.ttl = max(1, timeToLive.wholeSeconds)
                    $0.lease = attempt.lease.value
                    if let wait { $0.waitMilliseconds = max(0, wait.wholeMilliseconds) }
                    $0.owner = owner.isEmpty ? core.configuration.owner : owner
                }
                let answer = try await core.caller.call(Methods.campaign, request, options: attempt.options)
                return Acquisition.Answer(
                    isAcquired: answer.elected, handle: answer.leader, waitedMilliseconds: answer.waitedMilliseconds,
                    ahead: answer.ahead, holder: answer.hasHolder ? Place(answer.holder) : nil)
            }
        } etcd: { () async throws(BerthError) -> HeldPlace in
            try await EtcdAcquisition(core: core, name: name, timeToLive: timeToLive, wait: wait, value: value).run()
        }
        return Leadership(place)
    }

    /// Who leads now; nil when nobody does.
    public func leader(_ name: String) async throws(BerthError) -> Leader? {
        let core = core
        return try await core.byDialect { () async throws(BerthError) -> Leader? in
            let answer = try await core.caller.call(Methods.leader, .with { $0.name = Bytes(name).data })
            guard answer.hasLeader else { return nil }
            let place = Place(answer.leader)
            return Leader(
                key: place.key, token: place.token, lease: place.lease, value: place.value, owner: place.owner)
        } etcd: { () async throws(BerthError) -> Leader? in
            let first = Get(.prefix(Bytes("\(name)/")), limit: 1, order: .createRevision)
            return try await core.kv.page(first).values.first.map { Leader($0) }
        }
    }

    /// Every leader and every value it proclaims, in order, none left out, over broken connections and restarted
    /// servers.
    ///
    /// - Parameter revision: the first revision to tell of; nil starts with the leader there is.
    public func observe(_ name: String, from revision: Int64? = nil) -> LeaderChanges {
        LeaderChanges(core: core, name: name, from: max(0, revision ?? 0))
    }
}

/// Who leads.
public struct Leader: Sendable, Hashable {
    /// The owner key.
    public var key: Bytes
    /// The fencing token.
    public var token: Int64
    /// The lease leadership lives by.
    public var lease: LeaseID
    /// What it proclaimed.
    public var value: Bytes
    /// Whose it is, in the owner's words; empty on a plain etcd.
    public var owner: String

    init(key: Bytes, token: Int64, lease: LeaseID, value: Bytes, owner: String) {
        self.key = key
        self.token = token
        self.lease = lease
        self.value = value
        self.owner = owner
    }

    init(_ pair: KeyValue) {
        self.init(
            key: pair.key, token: pair.createRevision, lease: pair.lease ?? LeaseID(0), value: pair.value, owner: "")
    }
}

/// A change of leader, or of the leader's value.
public struct LeaderChange: Sendable, Hashable {
    /// The leader from this revision on; nil when nobody leads.
    public var leader: Leader?
    /// When it became so: go on from the revision after.
    public var revision: Int64
}
