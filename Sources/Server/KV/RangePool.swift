import EtcdAPI
import NIOCore
import NIOPosix
import StateMachine
import Store
import Vocabulary

/// Where long ranges are read and whole stores hashed, so that an event loop never stands still for one.
///
/// Bounds: a few threads; as many waiting reads as there are calls, which the transport bounds.
final class RangePool: Sendable {
    /// A range of more keys than this is read off the event loop.
    private static let longRangeKeys = 512

    private let pool: NIOThreadPool

    init(threads: Int) {
        pool = NIOThreadPool(numberOfThreads: threads)
        pool.start()
    }

    /// Whether the range may hold more keys than an event loop should visit. Looks at no more than the bound.
    static func isLong(_ view: RangeRequestView, _ store: Store) throws(EtcdError) -> Bool {
        guard !view.rangeEnd.isEmpty else { return false }
        return try store.readingEtcdErrors { snapshot in
            var seen = 0
            let range = KeyRange(key: [UInt8](view.key), end: [UInt8](view.rangeEnd))
            try snapshot.forEachKey(in: range, at: snapshot.revision) { _, _ in
                seen += 1
                return seen > longRangeKeys ? .stop : .next
            }
            return seen > longRangeKeys
        }
    }

    /// Works on a pool thread; `answer` completes on its event loop.
    func run(
        _ context: ServerContext, _ answer: PendingProposal,
        _ work: @escaping @Sendable (ServerContext) throws(EtcdError) -> [UInt8]
    ) {
        pool.submit { state in
            let result: ApplyResult
            switch state {
            case .active:
                do throws(EtcdError) {
                    result = .response(try work(context))
                } catch {
                    result = .failure(error)
                }
            case .cancelled: result = .failure(.stopped)
            }
            answer.loop.eventLoop.execute { answer.complete(result) }
        }
    }

    func shutdown() async throws { try await pool.shutdownGracefully() }
}
