import EtcdAPI
import FoundationEssentials
import StateMachine
import Vocabulary

extension ServerContext {
    /// Runs one operation if a key still has the create revision it was entered with: etcd's fencing idiom.
    func proposeFenced(
        key: [UInt8], createRevision: Revision, _ operation: Etcdserverpb_RequestOp, for author: Author?,
        _ completion: @escaping (Result<Etcdserverpb_TxnResponse, EtcdError>) -> Void
    ) {
        var unchanged = Etcdserverpb_Compare()
        unchanged.key = Data(key)
        unchanged.target = .create
        unchanged.result = .equal
        unchanged.createRevision = createRevision.value
        var txn = Etcdserverpb_TxnRequest()
        txn.compare = [unchanged]
        txn.success = [operation]
        propose(.txn, txn, expecting: Etcdserverpb_TxnResponse.self, for: author, completion)
    }
}
