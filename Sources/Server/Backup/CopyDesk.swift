import NIOPosix
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// Bounds the copies of the store that are under way, and has the threads on which they are made.
///
/// The threads give way to those that serve clients: writers go on at nearly their usual pace.
final class CopyDesk: Sendable {
    /// Copies under way at once. Each keeps pages from being used anew.
    static let maximumCopies = 2
    /// The threads' nice value.
    private static let niceness: Int32 = 10

    private let pool = NIOThreadPool(numberOfThreads: maximumCopies)
    private let count = Mutex<Int>(0)

    init() { pool.start() }

    /// Takes one of the places; false when none is free. Each is to be given back.
    func takePlace() -> Bool {
        count.withLock { count in
            guard count < Self.maximumCopies else { return false }
            count += 1
            return true
        }
    }

    func giveBack() { count.withLock { $0 -= 1 } }

    /// Works on one of the threads. After a shutdown began, wherever that puts it.
    func run(_ work: @escaping @Sendable () -> Void) {
        pool.submit { _ in
            // 0 means the calling thread. Only a help, so a failure is of no interest.
            _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, Self.niceness)
            work()
        }
    }

    func shutdown() async throws { try await pool.shutdownGracefully() }
}
