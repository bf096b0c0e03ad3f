internal import CRaft
internal import Glibc

/// The network of a cluster of one: it listens nowhere and reaches nobody, so that no port is opened.
///
/// Owns the `raft_uv_transport` it hands out; keep it until libraft has closed.
final class SilentTransport {
    let pointer: UnsafeMutablePointer<raft_uv_transport>

    init() {
        pointer = .allocate(capacity: 1)
        pointer.initialize(to: raft_uv_transport())
        pointer.pointee.`init` = { _, _, _ in 0 }
        pointer.pointee.listen = { _, _ in 0 }
        pointer.pointee.connect = { _, _, _, _, _ in RAFT_NOCONNECTION }
        pointer.pointee.close = { transport, closed in closed?(transport) }
    }

    deinit { pointer.deallocate() }
}
