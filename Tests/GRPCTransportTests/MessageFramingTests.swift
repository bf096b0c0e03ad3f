import GRPCTransport
import TestSupport
import Testing

@Suite struct MessageFramingTests {
    /// Feeds `bytes` in pieces whose lengths `nextLength` gives; returns the messages and the last step that was none.
    private func cut(
        _ bytes: [UInt8], limit: Int, nextLength: () -> Int
    ) -> (messages: [[UInt8]], fault: String?, isBetweenMessages: Bool) {
        var reader = InboundMessages(limit: limit)
        var messages: [[UInt8]] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            let piece = Array(rest.prefix(max(nextLength(), 1)))
            rest = rest.dropFirst(piece.count)
            let fault: String? = piece.withUnsafeBytes { whole in
                var left = whole
                while !left.isEmpty {
                    switch reader.next(&left) {
                    case .needsMore: break
                    case .borrowed(let message): messages.append(Array(message))
                    case .owned(let message): messages.append(message)
                    case .tooLarge(let length): return "too large: \(length)"
                    case .compressed: return "compressed"
                    }
                }
                return nil
            }
            if let fault { return (messages, fault, reader.isBetweenMessages) }
        }
        return (messages, nil, reader.isBetweenMessages)
    }

    private func prefixed(_ message: [UInt8]) -> [UInt8] { Frames.message(message) }

    @Test(arguments: Seeds.all)
    func `messages come out whole however their bytes are cut`(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<200 {
            let messages = (0..<Int.random(in: 0...8, using: &random)).map { _ in
                (0..<Int.random(in: 0...40, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
            }
            let result = cut(messages.flatMap(prefixed), limit: 40) { Int.random(in: 1...12, using: &random) }
            #expect(result.messages == messages)
            #expect(result.fault == nil)
            #expect(result.isBetweenMessages)
        }
    }

    @Test func `a message at the limit passes and one byte more is refused by its prefix alone`() {
        #expect(cut(prefixed([UInt8](repeating: 7, count: 10)), limit: 10) { 100 }.messages.count == 1)
        #expect(cut([0, 0, 0, 0, 11], limit: 10) { 100 }.fault == "too large: 11")
        #expect(cut([0, 255, 255, 255, 255], limit: 10) { 1 }.fault == "too large: 4294967295")
    }

    @Test(arguments: [UInt8(1), 2, 255])
    func `a compressed or unknown flag is refused`(flag: UInt8) {
        #expect(cut([flag, 0, 0, 0, 1, 9], limit: 10) { 100 }.fault == "compressed")
    }

    @Test(arguments: 1..<8)
    func `a stream that ends anywhere inside a message is seen to be unfinished`(length: Int) {
        let bytes = Array(prefixed([1, 2, 3]).prefix(length))
        let result = cut(bytes, limit: 10) { 100 }
        #expect(result.messages.isEmpty)
        #expect(!result.isBetweenMessages)
    }
}
