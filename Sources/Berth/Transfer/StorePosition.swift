/// Which store a server has, and how far that has come: enough to tell whether two servers have the same one.
///
/// Ids alone do not tell: every etcd that was started with default settings has the same two.
package struct StorePosition: Sendable, Hashable {
    /// What a target is to a source.
    package enum Relation: Sendable, Hashable {
        /// Two stores.
        case apart
        /// One store.
        case same
        /// Copies of one store, at two members of one cluster.
        case oneCluster
    }

    package var clusterID: UInt64
    package var memberID: UInt64
    package var revision: Int64
    package var raftIndex: UInt64

    package init(clusterID: UInt64, memberID: UInt64, revision: Int64, raftIndex: UInt64) {
        self.clusterID = clusterID
        self.memberID = memberID
        self.revision = revision
        self.raftIndex = raftIndex
    }

    init(_ status: MemberStatus) {
        self.init(
            clusterID: status.clusterID, memberID: status.memberID, revision: status.revision,
            raftIndex: status.raftIndex)
    }

    /// What this target is to a source that was asked before and after it.
    ///
    /// Both numbers only grow, so a store that is written meanwhile is still somewhere between its two answers.
    package func relation(toSource before: Self, _ after: Self) -> Relation {
        guard clusterID == before.clusterID || clusterID == after.clusterID else { return .apart }
        // A source that answers as two members has a cluster of more than one.
        guard memberID == before.memberID, memberID == after.memberID else { return .oneCluster }
        guard before.revision <= revision, revision <= after.revision, before.raftIndex <= raftIndex,
            raftIndex <= after.raftIndex
        else { return .apart }
        return .same
    }
}
