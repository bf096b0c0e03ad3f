import DequeModule
import NIOCore

/// The messages one stream has still to send, as length-prefixed bytes. Owns the bytes until they are copied, once,
/// into the connection's output; knows no flow control.
struct OutboundMessages {
    private var head: [UInt8] = []
    private var hasHead = false
    /// Bytes of the head's prefix and body already taken.
    private var taken = 0
    private var later = Deque<[UInt8]>()
    /// Bytes still to be taken, prefixes included.
    private(set) var byteCount = 0

    private static let prefixLength = 5

    mutating func append(_ message: [UInt8]) {
        byteCount += Self.prefixLength + message.count
        if hasHead {
            later.append(message)
        } else {
            head = message
            hasHead = true
        }
    }

    /// Copies exactly `length` bytes to the end of `output`. nghttp2 asks for no more than it was offered.
    mutating func take(_ length: Int, into output: inout ByteBuffer) {
        precondition(length <= byteCount, "more bytes were asked for than are queued")
        byteCount -= length
        var wanted = length
        while wanted > 0 {
            if taken == 0, wanted >= Self.prefixLength + head.count {
                wanted -= Self.prefixLength + head.count
                takeWhole(into: &output)
                continue
            }
            if taken < Self.prefixLength {
                let count = min(Self.prefixLength - taken, wanted)
                let bodyLength = UInt32(truncatingIfNeeded: head.count)
                // Byte by byte, as a frame's end may cut it.
                for position in taken..<(taken + count) {
                    let shift = 8 * UInt32(Self.prefixLength - 1 - position)
                    output.writeInteger(position == 0 ? 0 : UInt8(truncatingIfNeeded: bodyLength >> shift))
                }
                taken += count
                wanted -= count
            }
            let offset = taken - Self.prefixLength
            if offset >= 0 {
                let count = min(head.count - offset, wanted)
                if count > 0 {
                    head.withUnsafeBytes { bytes in
                        _ = output.writeBytes(UnsafeRawBufferPointer(rebasing: bytes[offset..<(offset + count)]))
                    }
                    taken += count
                    wanted -= count
                }
                if taken == Self.prefixLength + head.count { dropHead() }
            }
        }
    }

    /// Copies the head, of which nothing is taken yet: all of most messages fits the frame.
    private mutating func takeWhole(into output: inout ByteBuffer) {
        let count = Self.prefixLength + head.count
        output.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { room in
            room.storeBytes(of: 0, as: UInt8.self)
            room.storeBytes(of: UInt32(truncatingIfNeeded: head.count).bigEndian, toByteOffset: 1, as: UInt32.self)
            head.withUnsafeBytes {
                UnsafeMutableRawBufferPointer(rebasing: room[Self.prefixLength...]).copyMemory(from: $0)
            }
            return count
        }
        dropHead()
    }

    mutating func removeAll() {
        head = []
        hasHead = false
        taken = 0
        later.removeAll()
        byteCount = 0
    }

    private mutating func dropHead() {
        taken = 0
        if let next = later.popFirst() {
            head = next
        } else {
            head = []
            hasHead = false
        }
    }
}
