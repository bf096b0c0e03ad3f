import EtcdAPI
import GRPCTransport
import Identity
import Measures
import NIOCore
import NIOPosix
import StateMachine
import Synchronization
import Vocabulary

/// Where passwords are hashed and compared: a few threads of its own, as one takes a core for some 60 ms.
///
/// Bounds: half the cores, and `maximumWaiting` works in line; beyond that `etcdserver: too many requests`. Of those one
/// connection has `maximumPerConnection`; its further ones wait `longestWait` for their turn, then get the same. Wrong passwords
/// are bounded for each name by `AttemptLimit`, and a name over its bound gets the same answer, unhashed.
final class PasswordDesk: Sendable {
    private static let maximumWaiting = 256
    private static let maximumPerConnection = 4
    /// What must wait asks again after `askAgain`, this often.
    private static let longestWait = TimeAmount.seconds(10)
    private static let askAgain = TimeAmount.milliseconds(50)

    let cost: Int
    /// Works that were done.
    private let done: Counter
    private let pool: NIOThreadPool
    private let waiting = Atomic<Int>(0)
    private let attempts = Mutex(AttemptLimit())
    /// Works in line and under way, of connections that have any.
    private let shares = Mutex<[ObjectIdentifier: Int]>([:])

    init(cost: Int, counting done: Counter) {
        self.cost = cost
        self.done = done
        pool = NIOThreadPool(numberOfThreads: max(1, System.coreCount / 2))
        pool.start()
    }

    /// What an unknown user's password is compared with: a hash that nothing matches, of the cost that most passwords have.
    func hashOfNobody(_ state: AuthState) -> [UInt8] {
        PasswordHash.ofNobody(cost: state.usualPasswordCost ?? cost)
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

    /// Asks whether a password may be compared for a name now, and calls `admitted` then, or `refused`. While all that may be
    /// wrong at once are under way, it waits for one to turn out right.
    func admit(
        _ name: AuthName, for call: ServerCall, until: NIODeadline = .now() + PasswordDesk.longestWait,
        _ admitted: @escaping () -> Void, refused: @escaping () -> Void
    ) {
        switch attempts.withLock({ $0.admits(name.bytes, now: LeaseKeeper.now()) }) {
        case .admitted: admitted()
        case .refused: refused()
        case .occupied:
            guard NIODeadline.now() < until else { return refused() }
            call.eventLoop.assumeIsolated().scheduleTask(in: Self.askAgain) {
                guard call.isActive else { return }
                self.admit(name, for: call, until: until, admitted, refused: refused)
            }
        }
    }

    /// A password was right, or was not compared after all.
    func succeeded(_ name: AuthName) {
        attempts.withLock { $0.succeeded(name.bytes, now: LeaseKeeper.now()) }
    }

    /// A password was wrong.
    func failed(_ name: AuthName) {
        attempts.withLock { $0.failed(name.bytes, now: LeaseKeeper.now()) }
    }

    /// Works on a thread of the desk. What nobody waits for any more when its turn comes is left out.
    func run<Value: Sendable>(
        for call: ServerCall, until: NIODeadline = .now() + PasswordDesk.longestWait,
        _ work: @escaping @Sendable () -> Value,
        _ completion: @escaping (Result<Value, EtcdError>) -> Void
    ) {
        let connection = call.connectionIdentity
        guard takeShare(of: connection) else {
            guard NIODeadline.now() < until else { return completion(.failure(.tooManyRequests)) }
            call.eventLoop.assumeIsolated().scheduleTask(in: Self.askAgain) {
                guard call.isActive else { return }
                self.run(for: call, until: until, work, completion)
            }
            return
        }
        guard waiting.add(1, ordering: .relaxed).newValue <= Self.maximumWaiting else {
            waiting.subtract(1, ordering: .relaxed)
            giveShare(of: connection)
            return completion(.failure(.tooManyRequests))
        }
        let isWanted = Flag(true)
        call.onCancel = { _ in isWanted.value.store(false, ordering: .relaxed) }
        let loop = ServerLoop.here.eventLoop
        let answer = NIOLoopBound(completion, eventLoop: loop)
        pool.submit { state in
            self.waiting.subtract(1, ordering: .relaxed)
            defer { self.giveShare(of: connection) }
            guard isWanted.value.load(ordering: .relaxed) else { return }
            let result: Result<Value, EtcdError> = state == .active ? .success(work()) : .failure(.stopped)
            if state == .active { self.done.add() }
            loop.execute {
                guard isWanted.value.load(ordering: .relaxed) else { return }
                answer.value(result)
            }
        }
    }

    /// Calls that no connection of the server's own carries, the gateway's, have no share: theirs come one by one.
    private func takeShare(of connection: ObjectIdentifier?) -> Bool {
        guard let connection else { return true }
        return shares.withLock { shares in
            guard shares[connection, default: 0] < Self.maximumPerConnection else { return false }
            shares[connection, default: 0] += 1
            return true
        }
    }

    private func giveShare(of connection: ObjectIdentifier?) {
        guard let connection else { return }
        shares.withLock { shares in
            let left = (shares[connection] ?? 1) - 1
            shares[connection] = left > 0 ? left : nil
        }
    }

    func shutdown() async throws { try await pool.shutdownGracefully() }
}

/// A yes or no that another thread reads.
private final class Flag: Sendable {
    let value: Atomic<Bool>

    init(_ value: Bool) { self.value = Atomic(value) }
}
