import EtcdAPI
import SwiftProtobuf

/// Every request there is; an input's first byte chooses. New ones go to the end, so that the corpus keeps its meaning.
let requestTypes: [any SwiftProtobuf.Message.Type] = [
    Etcdserverpb_PutRequest.self, Etcdserverpb_RangeRequest.self, Etcdserverpb_DeleteRangeRequest.self,
    Etcdserverpb_TxnRequest.self, Etcdserverpb_CompactionRequest.self, Etcdserverpb_LeaseGrantRequest.self,
    Etcdserverpb_LeaseRevokeRequest.self, Etcdserverpb_AlarmRequest.self, Etcdserverpb_WatchRequest.self,
    Etcdserverpb_LeaseKeepAliveRequest.self, Etcdserverpb_LeaseTimeToLiveRequest.self,
    Etcdserverpb_LeaseLeasesRequest.self, Etcdserverpb_MemberAddRequest.self, Etcdserverpb_MemberRemoveRequest.self,
    Etcdserverpb_MemberUpdateRequest.self, Etcdserverpb_MemberListRequest.self, Etcdserverpb_MemberPromoteRequest.self,
    Etcdserverpb_StatusRequest.self, Etcdserverpb_HashKVRequest.self, Etcdserverpb_MoveLeaderRequest.self,
    Etcdserverpb_DowngradeRequest.self, Etcdserverpb_AuthenticateRequest.self, Etcdserverpb_AuthUserAddRequest.self,
    Etcdserverpb_AuthUserGetRequest.self, Etcdserverpb_AuthUserChangePasswordRequest.self,
    Etcdserverpb_AuthUserGrantRoleRequest.self, Etcdserverpb_AuthUserRevokeRoleRequest.self,
    Etcdserverpb_AuthRoleAddRequest.self, Etcdserverpb_AuthRoleGrantPermissionRequest.self,
    Etcdserverpb_AuthRoleRevokePermissionRequest.self, V3lockpb_LockRequest.self, V3lockpb_UnlockRequest.self,
    V3electionpb_CampaignRequest.self, V3electionpb_ProclaimRequest.self, V3electionpb_LeaderRequest.self,
    V3electionpb_ResignRequest.self,
]

/// Splits an input into the type its first byte chooses and the rest.
func chooseType(
    _ input: UnsafeRawBufferPointer
) -> (type: any SwiftProtobuf.Message.Type, number: Int, body: UnsafeRawBufferPointer)? {
    guard let first = input.first else { return nil }
    let number = Int(first) % requestTypes.count
    return (requestTypes[number], number, UnsafeRawBufferPointer(rebasing: input.dropFirst()))
}
