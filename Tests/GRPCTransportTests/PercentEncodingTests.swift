import GRPCTransport
import TestSupport
import Testing

@Suite struct PercentEncodingTests {
    @Test(arguments: [
        ("", ""), ("plain text", "plain text"), ("100%", "100%25"), ("a\nb", "a%0Ab"), ("é", "%C3%A9"), ("~ ", "~ "),
        ("\u{7f}", "%7F"),
    ])
    func `printable ASCII stays, everything else and the percent sign is escaped`(text: String, encoded: String) {
        #expect(String(decoding: PercentEncoding.encode(text), as: UTF8.self) == encoded)
        #expect(PercentEncoding.decode(Array(encoded.utf8)) == text)
    }

    @Test(arguments: ["%", "%4", "%zz", "100%", "%%41"])
    func `a percent sign without two digits stands for itself`(encoded: String) {
        #expect(PercentEncoding.decode(Array(encoded.utf8)) == encoded.replacing("%41", with: "A"))
    }

    @Test func `lower-case digits are read too`() {
        #expect(PercentEncoding.decode(Array("%c3%a9".utf8)) == "é")
    }

    @Test func `bytes that are no UTF-8 become replacement characters`() {
        #expect(PercentEncoding.decode(Array("%ff".utf8)) == "\u{fffd}")
    }

    @Test(arguments: Seeds.all)
    func `any text comes back from its encoding`(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<500 {
            let scalars = (0..<Int.random(in: 0...20, using: &random)).compactMap { _ in
                Unicode.Scalar(UInt32.random(in: 0...0x10ffff, using: &random))
            }
            let text = String(String.UnicodeScalarView(scalars))
            let encoded = PercentEncoding.encode(text)
            #expect(encoded.allSatisfy { $0 >= 0x20 && $0 <= 0x7e })
            #expect(PercentEncoding.decode(encoded) == text)
        }
    }
}
