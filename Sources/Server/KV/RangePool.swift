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

    /// Whether reading the range takes longer than an event loop should. Looks at no more keys than the bound.
    static func isLong(_ range: KeyRange, _ store: Store) throws(EtcdError) -> Bool {
        guard !range.isSingleKey else { return false }
        return try store.readingEtcdErrors { try $0.hasMoreKeys(than: longRangeKeys, in: range) }
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

    /// Works on a pool thread; nothing happens when the pool is shut.
    func run(_ work: @escaping @Sendable () -> Void) {
        pool.submit { state in
            if case .active = state { work() }
        }
    }

    func shutdown() async throws { try await pool.shutdownGracefully() }
}

extension ServerContext {
    /// Reads a range of the store: at once, or on a pool thread when the range is long. `completion` runs on the calling
    /// event loop, before this returns when the range is short.
    func read<Value: Sendable>(
        _ range: KeyRange, _ body: @escaping @Sendable (Snapshot) throws -> Value,
        completion: @escaping (Result<Value, EtcdError>) -> Void
    ) {
        do {
            guard try RangePool.isLong(range, store) else {
                return completion(.success(try store.readingEtcdErrors(body)))
            }
        } catch {
            return completion(.failure(error))
        }
        readOffLoop(body, completion: completion)
    }

    /// Reads on a pool thread. `completion` runs on the calling event loop.
    func readOffLoop<Value: Sendable>(
        _ body: @escaping @Sendable (Snapshot) throws -> Value,
        completion: @escaping (Result<Value, EtcdError>) -> Void
    ) {
        let value = LateBound<Box<Value>>()
        let answer = PendingProposal(on: .here) { result in
            switch result {
            case .failure(let error): completion(.failure(error))
            case .response, .entered, .skipped:
                guard let box = value.value else { preconditionFailure("a read that succeeded has a value") }
                completion(.success(box.value))
            }
        }
        rangePool.run(self, answer) { context throws(EtcdError) in
            value.set(Box(try context.store.readingEtcdErrors(body)))
            return []
        }
    }
}

/// A value behind a reference.
private final class Box<Value: Sendable>: Sendable {
    let value: Value

    init(_ value: Value) { self.value = value }
}
