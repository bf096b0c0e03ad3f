import ProtobufWire
import TestSupport
import Testing

/// Reads everything there is, into nothing.
private func readAll(_ bytes: [UInt8]) throws(WireError) -> Int {
    var fields = 0
    var failure: WireError?
    bytes.withUnsafeBytes { buffer in
        var reader = WireReader(buffer)
        do throws(WireError) {
            while let field = try reader.nextField() {
                try reader.skip(field)
                fields += 1
            }
        } catch {
            failure = error
        }
    }
    if let failure { throw failure }
    return fields
}

@Suite struct WireTests {
    @Test(arguments: [0, 1, 127, 128, 16_383, 16_384, 1 << 32, UInt64.max >> 1, .max])
    func `a number comes back from the bytes its size says`(number: UInt64) throws {
        var writer = WireWriter()
        writer.varint(number)
        #expect(writer.bytes.count == WireWriter.varintSize(number))
        let read = try writer.bytes.withUnsafeBytes { buffer in
            var reader = WireReader(buffer)
            return try reader.varint()
        }
        #expect(read == number)
    }

    @Test func `defaults are left out, and empty submessages are not`() {
        var writer = WireWriter()
        writer.int64Field(1, 0)
        writer.uint64Field(2, 0)
        writer.boolField(3, false)
        writer.bytesField(4, [])
        #expect(writer.bytes.isEmpty)
        writer.messageField(5, [])
        writer.message(6) { _ in }
        #expect(writer.bytes == [5 << 3 | 2, 0, 6 << 3 | 2, 0])
    }

    @Test(arguments: [0, 1, 127, 128, 129, 16_383, 16_384, 70_000])
    func `a submessage written in place equals one written apart`(size: Int) {
        let contents = [UInt8](repeating: 9, count: size)
        var inPlace = WireWriter()
        inPlace.int64Field(1, 5)
        inPlace.message(2) { $0.message(20) { $0.bytes += contents } }
        inPlace.int64Field(3, 5)
        var inner = WireWriter()
        inner.messageField(20, contents)
        var apart = WireWriter()
        apart.int64Field(1, 5)
        apart.messageField(2, inner.bytes)
        apart.int64Field(3, 5)
        #expect(inPlace.bytes == apart.bytes)
    }

    @Test func `every kind of damage has its error`() {
        #expect(throws: WireError.truncated) { try readAll([0x08]) }
        #expect(throws: WireError.truncated) { try readAll([0x0a, 5, 1, 2]) }
        #expect(throws: WireError.truncated) { try readAll([0x0a] + [UInt8](repeating: 0xff, count: 9) + [1]) }
        #expect(throws: WireError.truncated) { try readAll([0x0d, 1, 2]) }
        #expect(throws: WireError.truncated) { try readAll([0x0b, 0x0b, 0x0c]) }
        #expect(throws: WireError.overlongVarint) { try readAll([0x08] + [UInt8](repeating: 0x80, count: 12)) }
        #expect(throws: WireError.badTag) { try readAll([0x00, 0]) }
        #expect(throws: WireError.badTag) { try readAll([0x0e, 0]) }
        #expect(throws: WireError.badTag) { try readAll([0x0c]) }
        #expect(throws: WireError.badTag) { try readAll([0x0b, 0x14]) }
        #expect(throws: WireError.badTag) { try readAll([0x80, 0x80, 0x80, 0x80, 0x81, 0, 7]) }
    }

    /// As SwiftProtobuf has it: what both read must be the same, for a message may be read by both.
    @Test func `a tag may be longer than it needs to be up to five bytes, and inside a group up to ten`() throws {
        #expect(try readAll([0x88, 0x80, 0x80, 0x80, 0, 1]) == 1)
        #expect(throws: WireError.badTag) { try readAll([0x88, 0x80, 0x80, 0x80, 0x80, 0, 1]) }
        #expect(try readAll([0x0b, 0x90, 0x80, 0x80, 0x80, 0x80, 0, 1, 0x0c]) == 1)
    }

    @Test func `unknown fields of every wire type are passed over`() throws {
        let fields: [UInt8] = [
            0x08, 1, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 0x1a, 1, 0, 0x23, 0x28, 1, 0x24, 0x35, 1, 2, 3, 4,
        ]
        #expect(try readAll(fields) == 5)
    }

    @Test func `a field of another type than expected names its number`() {
        let bytes: [UInt8] = [0x38, 1]
        _ = bytes.withUnsafeBytes { buffer in
            #expect(throws: WireError.unexpectedType(field: 7)) {
                var reader = WireReader(buffer)
                let field = try #require(try reader.nextField())
                _ = try reader.bytes(of: field)
            }
        }
    }

    @Test(arguments: Seeds.all)
    func `random bytes are read or refused, never more than there are`(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<20_000 {
            let bytes = (0..<Int.random(in: 0...24, using: &random)).map { _ in
                // Small numbers are likelier to make tags and lengths that lead on.
                UInt8.random(in: 0...(Bool.random(using: &random) ? 31 : 255), using: &random)
            }
            if let fields = try? readAll(bytes) { #expect(fields <= bytes.count / 2 + 1) }
        }
    }

    @Test func `groups nested without end need no stack`() {
        #expect(throws: WireError.truncated) { try readAll([UInt8](repeating: 0x0b, count: 1_000_000)) }
    }
}
