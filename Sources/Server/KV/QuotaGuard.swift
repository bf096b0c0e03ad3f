import EtcdAPI
import StateMachine
import Store
import Synchronization
import Vocabulary

/// Refuses writes that would take the store over its quota, and raises the NOSPACE alarm the first time.
///
/// The size looked at is of pages in use, not of the file, so that compaction alone brings a full store back.
final class QuotaGuard: Sendable {
    private let store: Store
    private let limitInBytes: Int64
    private let isProposed = Atomic<Bool>(false)

    /// - Parameter limitInBytes: zero or less means without limit.
    init(store: Store, limitInBytes: Int64) {
        self.store = store
        self.limitInBytes = limitInBytes
    }

    /// - Parameter cost: bytes the request is reckoned to add; zero for one that adds none.
    /// - Throws: `.noSpace` when it does not fit.
    func admit(_ cost: Int, _ context: ServerContext) throws(EtcdError) {
        guard limitInBytes > 0, cost > 0 else { return }
        guard Int64(store.size().inUseBytes + cost) >= limitInBytes else { return }
        raiseAlarm(context)
        throw .noSpace
    }

    /// Proposes the alarm unless it is raised, or proposed already.
    private func raiseAlarm(_ context: ServerContext) {
        guard !context.alarms.contains(.noSpace), !isProposed.exchange(true, ordering: .relaxed) else { return }
        let alarm = AlarmRequestView(
            action: .activate, memberID: context.identity.memberID, alarm: AlarmSet.Kind.noSpace.rawValue)
        context.propose(.alarm, alarm.encoded()) { _ in self.isProposed.store(false, ordering: .relaxed) }
    }
}
