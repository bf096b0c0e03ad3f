import Berth
import Testing

@Suite struct StorePositionTests {
    private func at(_ revision: Int64, _ raftIndex: UInt64, cluster: UInt64 = 1, member: UInt64 = 1) -> StorePosition {
        StorePosition(clusterID: cluster, memberID: member, revision: revision, raftIndex: raftIndex)
    }

    @Test func `a store is known as itself, also when it is written meanwhile`() {
        #expect(at(5, 50).relation(toSource: at(5, 50), at(5, 50)) == .same)
        #expect(at(7, 60).relation(toSource: at(5, 50), at(9, 70)) == .same)
    }

    @Test func `stores with the same ids whose positions cannot be one store's are two`() {
        #expect(at(4, 50).relation(toSource: at(5, 50), at(5, 50)) == .apart)
        #expect(at(5, 49).relation(toSource: at(5, 50), at(5, 50)) == .apart)
        #expect(at(9, 50).relation(toSource: at(5, 50), at(8, 50)) == .apart)
        #expect(at(5, 71).relation(toSource: at(5, 50), at(5, 70)) == .apart)
    }

    @Test func `two members of one cluster are known by its id, however far each has come`() {
        #expect(at(1, 2, member: 2).relation(toSource: at(5, 50), at(5, 50)) == .oneCluster)
        // The source answers as one member, then as another.
        #expect(at(5, 50, member: 2).relation(toSource: at(5, 50), at(5, 50, member: 2)) == .oneCluster)
        #expect(at(5, 50).relation(toSource: at(5, 50), at(5, 50, member: 2)) == .oneCluster)
    }

    @Test func `another cluster is another store, whatever else is the same`() {
        #expect(at(5, 50, cluster: 2).relation(toSource: at(5, 50), at(5, 50)) == .apart)
    }
}
