import EtcdAPI
import ProtobufWire
import Vocabulary

/// Events of one watch response, encoded as the response's `events` fields and nothing else, so that watches of one
/// shape can share them. Knows where each event starts, for fragments.
package struct EncodedEvents {
    private var writer = WireWriter(capacity: 0)
    private var starts: [Int] = []

    package init() {}

    var isEmpty: Bool { starts.isEmpty }
    /// How many events there are.
    var count: Int { starts.count }
    var bytes: [UInt8] { writer.bytes }

    /// Appends one `mvccpb.Event`.
    package mutating func append(_ keyValue: UnsafeRawBufferPointer, isDeletion: Bool, previous: [UInt8]?) {
        starts.append(writer.bytes.count)
        guard let previous else {
            return WatchResponse.appendEvent(
                isDeletion: isDeletion, keyValue: keyValue, previous: nil, to: &writer)
        }
        previous.withUnsafeBytes {
            WatchResponse.appendEvent(isDeletion: isDeletion, keyValue: keyValue, previous: $0, to: &writer)
        }
    }

    /// Calls `body` with each piece of at most `limit` bytes, an event at least, and whether more follow.
    package func forEachFragment(limit: Int, _ body: (_ events: [UInt8], _ isFragment: Bool) -> Void) {
        var first = 0
        while first < starts.count {
            var next = first + 1
            while next < starts.count, end(ofEvent: next) - starts[first] <= limit { next += 1 }
            body(Array(writer.bytes[starts[first]..<end(ofEvent: next - 1)]), next < starts.count)
            first = next
        }
    }

    private func end(ofEvent event: Int) -> Int {
        event + 1 < starts.count ? starts[event + 1] : writer.bytes.count
    }
}
