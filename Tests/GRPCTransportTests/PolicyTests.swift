import CNghttp2
import GRPCTransport
import NIOCore
import Testing

@Suite struct PolicyTests {
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)

    @Test func `a bucket gives its burst, then its rate, and never more than its burst`() {
        var bucket = TokenBucket(burst: 3, perSecond: 10, now: start)
        let fromStart = (0..<4).map { _ in bucket.take(now: start) }
        #expect(fromStart == [true, true, true, false])
        let verdict1 = bucket.take(now: start + .milliseconds(99))
        #expect(!verdict1)
        let verdict2 = bucket.take(now: start + .milliseconds(100))
        #expect(verdict2)
        let verdict3 = bucket.take(now: start + .milliseconds(150))
        #expect(!verdict3)
        let verdict4 = bucket.take(now: start + .milliseconds(200))
        #expect(verdict4, "the half token of before was not lost")
        let later = start + .hours(1)
        let fromLater = (0..<4).map { _ in bucket.take(now: later) }
        #expect(fromLater == [true, true, true, false])
    }

    @Test func `pings far enough apart are never too many`() {
        var policy = ConnectionPolicy(ServerConfiguration(), now: start)
        for step in 0..<10 {
            let verdict = policy.isPingTooMany(hasCalls: true, now: start + .seconds(5 * Int64(step)))
            #expect(!verdict)
        }
    }

    @Test func `two quick pings are forgiven and the third is too many`() {
        var policy = ConnectionPolicy(ServerConfiguration(), now: start)
        let verdicts = (0..<4).map { policy.isPingTooMany(hasCalls: true, now: start + .seconds($0)) }
        #expect(verdicts == [false, false, false, true])
    }

    @Test func `without a call even slow pings are too many, unless permitted`() {
        var configuration = ServerConfiguration()
        var strict = ConnectionPolicy(configuration, now: start)
        configuration.permitsPingsWithoutCalls = true
        var lenient = ConnectionPolicy(configuration, now: start)
        let times = (0..<4).map { start + .seconds(10 * $0) }
        let strictly = times.map { strict.isPingTooMany(hasCalls: false, now: $0) }
        let leniently = times.map { lenient.isPingTooMany(hasCalls: false, now: $0) }
        #expect(strictly == [false, false, false, true])
        #expect(leniently == [false, false, false, false])
    }

    @Test func `a ping after an answer is fair and forgives the earlier ones`() {
        var policy = ConnectionPolicy(ServerConfiguration(), now: start)
        for _ in 0..<20 {
            policy.hasAnswered = true
            let verdict5 = policy.isPingTooMany(hasCalls: true, now: start)
            #expect(!verdict5)
            let verdict6 = policy.isPingTooMany(hasCalls: true, now: start)
            #expect(!verdict6)
        }
    }

    @Test func `each data frame excuses a ping, however late it comes`() {
        var policy = ConnectionPolicy(ServerConfiguration(), now: start)
        for _ in 0..<200 { policy.sentData() }
        let excused = (0..<200).map { _ in policy.isPingTooMany(hasCalls: true, now: start) }
        #expect(!excused.contains(true))
        let more = (0..<3).map { _ in policy.isPingTooMany(hasCalls: true, now: start) }
        #expect(more == [false, false, true])
        for _ in 0..<5_000 { policy.sentData() }
        let many = (0..<1_030).map { _ in policy.isPingTooMany(hasCalls: true, now: start) }
        #expect(many.firstIndex(of: true) == 1_026)
    }

    @Test func `frames that do no work are told from those that do`() {
        let policy = ConnectionPolicy(ServerConfiguration(), now: start)
        func isIdle(_ type: nghttp2_frame_type, _ length: Int, _ flags: UInt8) -> Bool {
            policy.isIdleFrame(type: UInt8(type.rawValue), length: length, flags: flags)
        }
        #expect(isIdle(NGHTTP2_SETTINGS, 0, 0))
        #expect(!isIdle(NGHTTP2_SETTINGS, 0, 1), "an acknowledgement answers us")
        #expect(isIdle(NGHTTP2_DATA, 0, 0))
        #expect(!isIdle(NGHTTP2_DATA, 0, 1), "it ends the stream")
        #expect(!isIdle(NGHTTP2_DATA, 1, 0))
        #expect(isIdle(NGHTTP2_PRIORITY, 5, 0))
        #expect(!isIdle(NGHTTP2_HEADERS, 5, 4))
        #expect(!isIdle(NGHTTP2_WINDOW_UPDATE, 4, 0))
    }
}
