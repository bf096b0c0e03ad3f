import EtcdAPI
import GRPCTransport
import Vocabulary

/// `etcdserverpb.Cluster`: who is a member. One voter for now, so the list is this server.
struct ClusterService: Sendable {
    let context: ServerContext

    func register(in table: inout ServiceTable) {
        table.unary("/etcdserverpb.Cluster/MemberList") { call, request in
            guard decode(Etcdserverpb_MemberListRequest.self, request, call) != nil else { return }
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
}
