internal import CRaft
internal import Synchronization

/// Wakes the log's loop from any thread. It owns the one libuv handle that other threads touch, and sees to it that
/// none of them touches it while it closes.
final class Waker: @unchecked Sendable {
    // @unchecked: `uv_async_send` may be called from any thread while the handle is open, and `gateway` keeps that true.
    private let handle: UnsafeMutablePointer<uv_async_t>
    /// Threads inside `wake`, and a bit that is set while the handle is open.
    private let gateway = Atomic<UInt64>(0)
    private static let openBit: UInt64 = 1 << 63

    init() {
        handle = .allocate(capacity: 1)
        handle.initialize(to: uv_async_t())
    }

    deinit { handle.deallocate() }

    /// Tells the handle from others of its loop.
    var address: UnsafeRawPointer { UnsafeRawPointer(handle) }

    /// Makes the loop turn once more; wakes that come together make one turn. Does nothing while closed.
    func wake() {
        let before = gateway.wrappingAdd(1, ordering: .acquiring).oldValue
        if before & Self.openBit != 0 { uv_async_send(handle) }
        gateway.wrappingSubtract(1, ordering: .releasing)
    }

    /// Log thread. The callback has nothing to do: the loop's check handle runs each turn.
    func open(on loop: UnsafeMutablePointer<uv_loop_t>) -> Int32 {
        let code = uv_async_init(loop, handle) { _ in }
        if code == 0 { gateway.wrappingAdd(Self.openBit, ordering: .releasing) }
        return code
    }

    /// Log thread, once after a successful `open`.
    func close() {
        gateway.wrappingSubtract(Self.openBit, ordering: .acquiringAndReleasing)
        // Whoever came before is inside a call of about a microsecond.
        while gateway.load(ordering: .acquiring) != 0 {}
        UnsafeMutableRawPointer(handle).withMemoryRebound(to: uv_handle_t.self, capacity: 1) { uv_close($0, nil) }
    }
}
