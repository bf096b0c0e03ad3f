import EtcdAPI
import SwiftProtobuf

/// One method with one message each way, and when a call of it may be made again.
struct Method<Request: Message, Response: Message>: Sendable {
    /// When a call that failed for want of a server may be repeated.
    enum Repeats: Sendable {
        /// Always: twice is as good as once.
        case always
        /// Only while no server can have seen it.
        case unsent
    }

    let path: String
    let repeats: Repeats

    init(_ path: String, repeats: Repeats) {
        self.path = path
        self.repeats = repeats
    }
}

/// The methods this library calls.
enum Methods {
    static let range = Method<Etcdserverpb_RangeRequest, Etcdserverpb_RangeResponse>(
        "/etcdserverpb.KV/Range", repeats: .always)
    static let put = Method<Etcdserverpb_PutRequest, Etcdserverpb_PutResponse>(
        "/etcdserverpb.KV/Put", repeats: .unsent)
    static let delete = Method<Etcdserverpb_DeleteRangeRequest, Etcdserverpb_DeleteRangeResponse>(
        "/etcdserverpb.KV/DeleteRange", repeats: .unsent)
    static let txn = Method<Etcdserverpb_TxnRequest, Etcdserverpb_TxnResponse>(
        "/etcdserverpb.KV/Txn", repeats: .unsent)
    /// A transaction that does the same when it comes twice, or only reads.
    static let repeatableTxn = Method<Etcdserverpb_TxnRequest, Etcdserverpb_TxnResponse>(
        "/etcdserverpb.KV/Txn", repeats: .always)
    static let compact = Method<Etcdserverpb_CompactionRequest, Etcdserverpb_CompactionResponse>(
        "/etcdserverpb.KV/Compact", repeats: .unsent)

    /// With an id of the caller's choice: a repeat finds the lease there.
    static let grant = Method<Etcdserverpb_LeaseGrantRequest, Etcdserverpb_LeaseGrantResponse>(
        "/etcdserverpb.Lease/LeaseGrant", repeats: .always)
    static let revoke = Method<Etcdserverpb_LeaseRevokeRequest, Etcdserverpb_LeaseRevokeResponse>(
        "/etcdserverpb.Lease/LeaseRevoke", repeats: .always)
    static let timeToLive = Method<Etcdserverpb_LeaseTimeToLiveRequest, Etcdserverpb_LeaseTimeToLiveResponse>(
        "/etcdserverpb.Lease/LeaseTimeToLive", repeats: .always)
    static let leases = Method<Etcdserverpb_LeaseLeasesRequest, Etcdserverpb_LeaseLeasesResponse>(
        "/etcdserverpb.Lease/LeaseLeases", repeats: .always)
    /// One renewal: a stream that is closed behind its only message.
    static let keepAlive = Method<Etcdserverpb_LeaseKeepAliveRequest, Etcdserverpb_LeaseKeepAliveResponse>(
        keepAlivePath, repeats: .always)
    static let keepAlivePath = "/etcdserverpb.Lease/LeaseKeepAlive"

    static let status = Method<Etcdserverpb_StatusRequest, Etcdserverpb_StatusResponse>(
        "/etcdserverpb.Maintenance/Status", repeats: .always)
    static let authenticate = Method<Etcdserverpb_AuthenticateRequest, Etcdserverpb_AuthenticateResponse>(
        "/etcdserverpb.Auth/Authenticate", repeats: .always)
    static let watchPath = "/etcdserverpb.Watch/Watch"

    /// With a lease of the caller's choice: a repeat finds the same place.
    static let acquire = Method<Berth_V1_AcquireRequest, Berth_V1_AcquireResponse>(
        "/berth.v1.Locks/Acquire", repeats: .always)
    static let release = Method<Berth_V1_ReleaseRequest, Berth_V1_ReleaseResponse>(
        "/berth.v1.Locks/Release", repeats: .always)
    static let renew = Method<Berth_V1_RenewRequest, Berth_V1_RenewResponse>(
        "/berth.v1.Locks/Renew", repeats: .always)
    static let inspect = Method<Berth_V1_InspectRequest, Berth_V1_InspectResponse>(
        "/berth.v1.Locks/Inspect", repeats: .always)
    static let list = Method<Berth_V1_ListRequest, Berth_V1_ListResponse>(
        "/berth.v1.Locks/List", repeats: .always)
    /// Without a token a repeat would break the next place.
    static let breakPlace = Method<Berth_V1_BreakRequest, Berth_V1_BreakResponse>(
        "/berth.v1.Locks/Break", repeats: .unsent)
    static let observePath = "/berth.v1.Locks/Observe"

    static let campaign = Method<Berth_V1_CampaignRequest, Berth_V1_CampaignResponse>(
        "/berth.v1.Elections/Campaign", repeats: .always)
    /// Changes a value under proof: a repeat writes the same value once more.
    static let proclaim = Method<Berth_V1_ProclaimRequest, Berth_V1_ProclaimResponse>(
        "/berth.v1.Elections/Proclaim", repeats: .unsent)
    static let leader = Method<Berth_V1_LeaderRequest, Berth_V1_LeaderResponse>(
        "/berth.v1.Elections/Leader", repeats: .always)
    static let resign = Method<Berth_V1_ResignRequest, Berth_V1_ResignResponse>(
        "/berth.v1.Elections/Resign", repeats: .always)
    static let electionObservePath = "/berth.v1.Elections/Observe"
}
