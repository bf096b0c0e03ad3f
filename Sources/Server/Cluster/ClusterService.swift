import EtcdAPI
import GRPCTransport
import ReplicatedLog
import Vocabulary

/// `etcdserverpb.Cluster`: who is a member. One voter for now, so the list is this server, and changes are refused:
/// first for etcd's reasons, then because a single member has nobody to agree with.
struct ClusterService: Sendable {
    let context: ServerContext

    func register(in table: inout ServiceTable) {
        table.unary("/etcdserverpb.Cluster/MemberList") { list($0, $1) }
        table.unary("/etcdserverpb.Cluster/MemberAdd") { call, request in
            guard let decoded = decode(Etcdserverpb_MemberAddRequest.self, request, call) else { return }
            call.fail(refusal(ofAdding: decoded.peerUrls))
        }
        table.unary("/etcdserverpb.Cluster/MemberRemove") { call, request in
            guard let decoded = decode(Etcdserverpb_MemberRemoveRequest.self, request, call) else { return }
            // etcd too does not let the last voter go.
            call.fail(decoded.id == context.identity.memberID ? .notEnoughMembers : .memberNotFound)
        }
        table.unary("/etcdserverpb.Cluster/MemberUpdate") { call, request in
            guard let decoded = decode(Etcdserverpb_MemberUpdateRequest.self, request, call) else { return }
            call.fail(decoded.id == context.identity.memberID ? Self.noPeers : .memberNotFound)
        }
        table.unary("/etcdserverpb.Cluster/MemberPromote") { call, request in
            guard let decoded = decode(Etcdserverpb_MemberPromoteRequest.self, request, call) else { return }
            call.fail(decoded.id == context.identity.memberID ? .memberNotLearner : .memberNotFound)
        }
    }

    private static let noMembers = EtcdError.singleMember(
        """
        this server is a single member and cannot take others in yet; to run on several members, copy the data to an \
        etcd cluster with 'berth export --to-etcd ENDPOINT'
        """)
    private static let noPeers = EtcdError.singleMember(
        "a single member has no peers and keeps no peer URLs; leave them as they are")

    private func refusal(ofAdding peerURLs: [String]) -> EtcdError {
        !peerURLs.isEmpty && peerURLs.allSatisfy(PeerURL.isValid) ? Self.noMembers : .memberURLsInvalid
    }

    private func list(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(Etcdserverpb_MemberListRequest.self, request, call) else { return }
        guard !decoded.linearizable || context.log.status.isLeader else { return call.fail(.noLeader) }
        var member = Etcdserverpb_Member()
        member.id = context.identity.memberID
        member.name = context.settings.name
        member.clientUrls = context.advertisedURLs.map(\.description)
        var response = Etcdserverpb_MemberListResponse()
        // etcd leaves the revision out of member answers.
        response.header = context.header(revision: .zero)
        response.members = [member]
        call.respond(response)
    }
}
