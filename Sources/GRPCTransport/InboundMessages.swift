/// Cuts a stream's DATA bytes into messages. Holds at most one unfinished message; the bound on its size is checked
/// when its prefix is complete, before any of it is kept.
package struct InboundMessages {
    /// What the next bytes gave.
    package enum Step {
        /// All bytes are used up; no message is complete.
        case needsMore
        /// A message that lies whole in the bytes given: valid as long as they are.
        case borrowed(UnsafeRawBufferPointer)
        /// A message put together from several pieces.
        case owned([UInt8])
        /// The prefix announces more than the bound.
        case tooLarge(length: Int)
        /// The compressed flag is set, or a reserved one.
        case compressed
    }

    private let limit: Int
    private var prefix: UInt64 = 0
    private var prefixCount = 0
    private var partial: [UInt8] = []
    /// Length of the message whose prefix is complete, nil between messages.
    package private(set) var length: Int?

    /// Unfinished messages start with no more room than this: a prefix alone must not reserve megabytes.
    private static let firstReservation = 16_384

    /// A reader of messages of up to `limit` bytes.
    package init(limit: Int) { self.limit = limit }

    /// True when the stream may end here.
    package var isBetweenMessages: Bool { length == nil && prefixCount == 0 }

    /// Bytes of the unfinished message still to come.
    package var missingBytes: Int { (length ?? 0) - partial.count }

    /// Memory held for the unfinished message.
    package var heldBytes: Int { partial.capacity }

    /// Takes bytes from the front of `bytes`, up to the end of the first message in them.
    package mutating func next(_ bytes: inout UnsafeRawBufferPointer) -> Step {
        if length == nil {
            while prefixCount < 5, let byte = bytes.first {
                prefix = prefix << 8 | UInt64(byte)
                prefixCount += 1
                bytes = UnsafeRawBufferPointer(rebasing: bytes.dropFirst())
            }
            guard prefixCount == 5 else { return .needsMore }
            guard prefix >> 32 == 0 else { return .compressed }
            let announced = Int(prefix & 0xffff_ffff)
            guard announced <= limit else { return .tooLarge(length: announced) }
            length = announced
        }
        guard let length else { return .needsMore }
        let missing = length - partial.count
        guard bytes.count >= missing else {
            if partial.isEmpty {
                partial.reserveCapacity(min(length, max(Self.firstReservation, bytes.count)))
            }
            partial.append(contentsOf: bytes)
            bytes = UnsafeRawBufferPointer(rebasing: bytes.suffix(0))
            return .needsMore
        }
        let piece = UnsafeRawBufferPointer(rebasing: bytes.prefix(missing))
        bytes = UnsafeRawBufferPointer(rebasing: bytes.dropFirst(missing))
        self.length = nil
        prefix = 0
        prefixCount = 0
        guard !partial.isEmpty else { return .borrowed(piece) }
        partial.append(contentsOf: piece)
        defer { partial = [] }
        return .owned(partial)
    }

    /// Lets go of the unfinished message; nothing more may be taken.
    package mutating func discard() { partial = [] }

    /// Makes room for the whole of the message that is arriving, once its sender may send it all.
    package mutating func reserveWhole() {
        if let length { partial.reserveCapacity(length) }
    }
}
