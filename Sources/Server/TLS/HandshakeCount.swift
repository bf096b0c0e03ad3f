package import Measures
import Synchronization

/// Counts TLS handshakes that are under way against their bound, of all listeners and event loops together.
///
/// A handshake costs far more than it costs whoever asks for it. Past the bound a connection is closed at its first bytes;
/// clients come again. One that says nothing costs nothing, and is not counted.
package final class HandshakeCount: Sendable {
    private let count = Atomic<Int>(0)
    private let limit: Int
    /// Handshakes that failed, or never began because too many were under way.
    package let failures = Counter()

    /// Far more than are ever under way where clients answer: one takes a millisecond or two of an event loop.
    package static let standardLimit = 1_024

    package init(limit: Int = HandshakeCount.standardLimit) { self.limit = limit }

    package var underWay: Int { count.load(ordering: .relaxed) }

    /// False: there are too many, and this one is not counted.
    package func begin() -> Bool {
        guard count.add(1, ordering: .relaxed).newValue <= limit else {
            end()
            failures.add()
            return false
        }
        return true
    }

    package func end() { count.subtract(1, ordering: .relaxed) }
}
