import GRPCTransport
import NIOCore
import TestSupport
import Testing

@Suite struct TimeoutHeaderTests {
    private func parse(_ text: String) -> TimeAmount? { Array(text.utf8).withUnsafeBytes { TimeoutHeader.parse($0) } }

    @Test(arguments: [
        ("1n", 1), ("2u", 2_000), ("3m", 3_000_000), ("4S", 4_000_000_000), ("5M", 300_000_000_000),
        ("1H", 3_600_000_000_000), ("0S", 0), ("00000010m", 10_000_000),
    ])
    func `each unit is read`(text: String, nanoseconds: Int64) {
        #expect(parse(text)?.nanoseconds == nanoseconds)
    }

    @Test(arguments: ["", "S", "1", "1s", "-1S", "1.5S", "123456789S", " 1S", "1 S"])
    func `anything else is malformed`(text: String) {
        #expect(parse(text) == nil)
    }

    @Test func `a time too long to count can still be added to now`() throws {
        let longest = try #require(parse("99999999H"))
        #expect(NIODeadline.now() + longest > NIODeadline.now() + .hours(1_000_000))
    }

    @Test(arguments: Seeds.all)
    func `what is written is read as the same time or a little longer`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<1_000 {
            let nanoseconds = Int64.random(in: 0...(1 << Int64.random(in: 1...61, using: &random)), using: &random)
            let text = TimeoutHeader.format(.nanoseconds(nanoseconds))
            let back = try #require(parse(text), "\(text)").nanoseconds
            #expect(back >= nanoseconds)
            #expect(Double(back) <= Double(nanoseconds) * 1.000_01 + 1, "\(text) for \(nanoseconds)")
        }
    }
}
