import Berth
import CommandText
import Testing

@Suite struct TextTests {
    @Test func `time spans are read as people write them`() {
        #expect(DurationText.parse("10") == .seconds(10))
        #expect(DurationText.parse("0") == .zero)
        #expect(DurationText.parse("1.5") == .milliseconds(1500))
        #expect(DurationText.parse("500ms") == .milliseconds(500))
        #expect(DurationText.parse("1h30m") == .seconds(5400))
        for text in ["", "-1", "s", "10x", "ten", "1..5s", "1s2", "1e9999", "nan", "inf", "99999999999999999h", "٣s"] {
            #expect(DurationText.parse(text) == nil, "\(text)")
        }
    }

    @Test func `time spans are shown for a glance`() {
        #expect(DurationText.short(.milliseconds(7_350)) == "7.3 s")
        #expect(DurationText.short(.seconds(42)) == "42 s")
        #expect(DurationText.short(.seconds(200)) == "3 min")
        #expect(DurationText.short(.seconds(-3)) == "0.0 s")
    }

    @Test func `JSON keeps the order of its fields, and escapes what must be`() {
        let json = JSON.object([
            .init("b", 1), .init("a", "x\"\\\n\u{1}é"), .init("c", .array([.null, .bool(true)])),
        ])
        #expect(json.line == #"{"b":1,"a":"x\"\\\n\u0001é","c":[null,true]}"#)
    }

    @Test func `bytes that are no text are base64 under a name of their own`() {
        #expect(JSON.object([.init("key", Bytes("a/b"))]).line == #"{"key":"a/b"}"#)
        #expect(JSON.object([.init("key", Bytes([0xff, 0x00]))]).line == #"{"key_base64":"/wA="}"#)
    }

    @Test func `words for a shell are quoted where they need it`() {
        #expect(ShellWord.quoted("order:123/1f") == "order:123/1f")
        #expect(ShellWord.quoted("a b'c") == #"'a b'\''c'"#)
        #expect(ShellWord.quoted("") == "''")
    }

    @Test func `columns are as wide as their widest cell, and labels cannot steer a terminal`() {
        #expect(LockText.columns([["a", "bb", "c"], ["aaa", "b", ""]]) == ["a    bb  c", "aaa  b   "])
        #expect(LockText.printable("x\u{1b}[2Jy") == "x\\x1b[2Jy")
    }
}
