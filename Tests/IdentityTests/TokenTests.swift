import Identity
import TestSupport
import Testing
import Vocabulary

private func at(_ seconds: Int) -> MonotonicInstant { MonotonicInstant(sinceStart: .seconds(seconds)) }

@Suite struct TokenTests {
    @Test func `a token is sixteen letters, a point and its number`() throws {
        let token = SimpleToken()
        let text = token.text(number: 42)
        #expect(text.count == 19 && text.hasSuffix(".42"))
        let read = try #require(SimpleToken.read(text))
        #expect(read.number == 42 && read.digest == token.digest)
        #expect(SimpleToken().letters != token.letters)
        let wrongs = [
            "", ".1", "abc.1", text + "x", String(text.dropFirst()), text.replacingPoint,
            text + String(repeating: "9", count: 30),
        ]
        for wrong in wrongs {
            #expect(SimpleToken.read(wrong) == nil, "\(wrong)")
        }
    }

    @Test func `a token lives as long as it is used`() {
        var table = TokenTable(timeToLive: .seconds(300))
        func use(_ number: UInt64, _ digest: UInt8, _ seconds: Int) -> [UInt8]? {
            table.use(number, digest: [digest], now: at(seconds))
        }
        table.add(1, user: [1], digest: [7], now: at(0))
        #expect(use(1, 7, 299) == [1])
        #expect(use(1, 7, 598) == [1])
        #expect(use(1, 8, 600) == nil)
        #expect(use(2, 7, 600) == nil)
        #expect(use(1, 7, 898) == nil)
        #expect(table.count == 0)
    }

    @Test func `a user's tokens end together`() {
        var table = TokenTable(timeToLive: .seconds(300))
        func use(_ number: UInt64, _ digest: UInt8, _ seconds: Int) -> [UInt8]? {
            table.use(number, digest: [digest], now: at(seconds))
        }
        for number in 1...4 { table.add(UInt64(number), user: [UInt8(number % 2)], digest: [7], now: at(0)) }
        table.end(user: [1])
        var users: [[UInt8]?] = []
        for number in 1...4 { users.append(table.use(UInt64(number), digest: [7], now: at(1))) }
        #expect(users == [nil, [0], nil, [0]])
        table.endAll()
        #expect(use(2, 7, 1) == nil)
    }

    @Test func `at a bound the token that would end first ends`() {
        var table = TokenTable(timeToLive: .seconds(300), maximumOfUser: 2, maximum: 3)
        func use(_ number: UInt64, _ digest: UInt8, _ seconds: Int) -> [UInt8]? {
            table.use(number, digest: [digest], now: at(seconds))
        }
        table.add(1, user: [1], digest: [7], now: at(0))
        table.add(2, user: [1], digest: [7], now: at(1))
        #expect(use(1, 7, 2) != nil)
        table.add(3, user: [1], digest: [7], now: at(3))
        #expect(use(2, 7, 4) == nil)
        table.add(4, user: [2], digest: [7], now: at(5))
        table.add(5, user: [3], digest: [7], now: at(6))
        #expect(table.count == 3)
        #expect(use(1, 7, 7) == nil)
    }

    @Test func `tokens that have run out do not pile up`() {
        var table = TokenTable(timeToLive: .seconds(10))
        for number in 0..<10_000 { table.add(UInt64(number), user: [1], digest: [7], now: at(number)) }
        #expect(table.count < 200)
    }

    @Test func `wrong passwords are bounded for each name, and the bound grows back`() {
        var limit = AttemptLimit(burst: 3, interval: .seconds(1))
        for _ in 0..<3 {
            #expect(limit.admits([1], now: at(0)) == .admitted)
            limit.failed([1], now: at(0))
        }
        #expect(limit.admits([1], now: at(0)) == .refused)
        #expect(limit.admits([2], now: at(0)) == .admitted)
        limit.succeeded([2], now: at(0))
        #expect(limit.admits([1], now: at(1)) == .admitted)
        limit.failed([1], now: at(1))
        #expect(limit.admits([1], now: at(1)) == .refused)
        #expect(limit.admits([1], now: at(100)) == .admitted)
        limit.succeeded([1], now: at(100))
        #expect(limit.count == 0)
    }

    @Test func `no more are looked at together than may be wrong, and a burst leaves no debt`() {
        var limit = AttemptLimit(burst: 3, interval: .seconds(1))
        var admitted = 0
        for _ in 0..<200 where limit.admits([1], now: at(0)) == .admitted { admitted += 1 }
        #expect(admitted == 3)
        #expect(limit.admits([1], now: at(0)) == .occupied)
        limit.succeeded([1], now: at(0))
        #expect(limit.admits([1], now: at(0)) == .admitted)
        for _ in 0..<3 { limit.failed([1], now: at(0)) }
        #expect(limit.admits([1], now: at(0)) == .refused)
        #expect(limit.admits([1], now: at(1)) == .admitted)
    }

    @Test func `names are forgotten at the bound, those with the most credit first`() {
        var limit = AttemptLimit(burst: 3, interval: .seconds(1), maximumNames: 2)
        for name in [1, 1, 1, 2, 3] as [UInt8] {
            #expect(limit.admits([name], now: at(0)) == .admitted)
            limit.failed([name], now: at(0))
        }
        #expect(limit.count == 2)
        #expect(limit.admits([1], now: at(0)) == .refused)
    }
}

extension String {
    fileprivate var replacingPoint: String { String(map { $0 == "." ? ":" : $0 }) }
}
