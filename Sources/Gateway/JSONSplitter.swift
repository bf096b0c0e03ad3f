/// Cuts a stream of JSON objects, one after another with space or nothing between them, out of the pieces it arrives in.
/// Holds what was not taken yet, of which one unfinished object at most; looks at each byte once.
struct JSONSplitter {
    private let limit: Int
    private var bytes: [UInt8] = []
    /// Where the next object begins, after space.
    private var start = 0
    /// Up to where the unfinished object was looked at.
    private var seen = 0
    private var depth = 0
    private var isInString = false
    private var isEscaped = false

    /// - Parameter limit: the longest object taken, in bytes.
    init(limit: Int) { self.limit = limit }

    /// Whether the stream may end here.
    var isBetweenValues: Bool { depth == 0 && start == bytes.count }

    /// Bytes in memory.
    var heldBytes: Int { bytes.count - start }

    mutating func append(_ more: UnsafeRawBufferPointer) {
        if start > 0 {
            bytes.removeFirst(start)
            seen -= start
            start = 0
        }
        bytes.append(contentsOf: more)
    }

    /// The next whole object; nil when more bytes are needed.
    ///
    /// - Throws: when what comes next is no object, or one longer than the limit.
    mutating func next() throws(JSONFault) -> [UInt8]? {
        if depth == 0 {
            while start < bytes.count, [0x20, 0x09, 0x0a, 0x0d].contains(bytes[start]) { start += 1 }
            seen = start
        }
        while seen < bytes.count {
            let byte = bytes[seen]
            if depth == 0, byte != UInt8(ascii: "{") {
                throw .character(byte, "looking for beginning of value", at: 0)
            }
            seen += 1
            if isInString {
                if isEscaped {
                    isEscaped = false
                } else if byte == UInt8(ascii: "\\") {
                    isEscaped = true
                } else if byte == UInt8(ascii: "\"") {
                    isInString = false
                }
                continue
            }
            switch byte {
            case UInt8(ascii: "\""): isInString = true
            case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                depth -= 1
                guard depth > 0 else {
                    defer { start = seen }
                    return Array(bytes[start..<seen])
                }
            default: break
            }
        }
        guard heldBytes <= limit else { throw JSONFault("a message is longer than \(limit) bytes of JSON") }
        return nil
    }
}
