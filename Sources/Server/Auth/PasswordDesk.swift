import EtcdAPI
import GRPCTransport
import Identity
import NIOCore
import NIOPosix
import StateMachine
import Synchronization
import Vocabulary

/// Where passwords are hashed and compared: a few threads of its own, as one takes a core for some 60 ms.
///
/// Bounds: half the cores, and `maximumWaiting` works in line; beyond that `etcdserver: too many requests`. Wrong passwords
/// are bounded for each name by `AttemptLimit`, and a name over its bound gets the same answer, unhashed.
final class PasswordDesk: Sendable {
    private static let maximumWaiting = 256

    let cost: Int
    private let pool: NIOThreadPool
    private let waiting = Atomic<Int>(0)
    private let attempts = Mutex(AttemptLimit())

    init(cost: Int) {
        self.cost = cost
        pool = NIOThreadPool(numberOfThreads: max(1, System.coreCount / 2))
        pool.start()
    }

    /// What an unknown user's password is compared with: a hash of the usual cost that nothing matches.
    var hashOfNobody: [UInt8] {
        Array("$2a$\(cost < 10 ? "0" : "")\(cost)$".utf8) + [UInt8](repeating: UInt8(ascii: "."), count: 53)
    }

    /// Hashes a password. `completion` runs on the calling event loop, unless the call ends first.
    func hash(_ password: [UInt8], for call: ServerCall, _ completion: @escaping (Result<[UInt8], EtcdError>) -> Void) {
        let cost = cost
        run(for: call) {
            PasswordHash.make(password, cost: cost)
        } _: { result in
            completion(
                result.flatMap { hash in
                    hash.map { .success($0) } ?? .failure(.internalError("the password could not be hashed"))
                })
        }
    }

    /// Whether a password may be compared for a name now.
    func admits(_ name: AuthName) -> Bool {
        attempts.withLock { $0.admits(name.bytes, now: LeaseKeeper.now()) }
    }

    /// A password was wrong.
    func failed(_ name: AuthName) {
        attempts.withLock { $0.failed(name.bytes, now: LeaseKeeper.now()) }
    }

    /// Works on a thread of the desk. What nobody waits for any more when its turn comes is left out.
    func run<Value: Sendable>(
        for call: ServerCall, _ work: @escaping @Sendable () -> Value,
        _ completion: @escaping (Result<Value, EtcdError>) -> Void
    ) {
        guard waiting.add(1, ordering: .relaxed).newValue <= Self.maximumWaiting else {
            waiting.subtract(1, ordering: .relaxed)
            return completion(.failure(.tooManyRequests))
        }
        let isWanted = Flag(true)
        call.onCancel = { _ in isWanted.value.store(false, ordering: .relaxed) }
        let loop = ServerLoop.here.eventLoop
        let answer = NIOLoopBound(completion, eventLoop: loop)
        pool.submit { state in
            self.waiting.subtract(1, ordering: .relaxed)
            guard isWanted.value.load(ordering: .relaxed) else { return }
            let result: Result<Value, EtcdError> = state == .active ? .success(work()) : .failure(.stopped)
            loop.execute {
                guard isWanted.value.load(ordering: .relaxed) else { return }
                answer.value(result)
            }
        }
    }

    func shutdown() async throws { try await pool.shutdownGracefully() }
}

/// A yes or no that another thread reads.
private final class Flag: Sendable {
    let value: Atomic<Bool>

    init(_ value: Bool) { self.value = Atomic(value) }
}
