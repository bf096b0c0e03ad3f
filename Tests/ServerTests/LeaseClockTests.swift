import Server
import TestSupport
import Testing
import Vocabulary

private func at(_ seconds: Int) -> MonotonicInstant { MonotonicInstant(sinceStart: .seconds(seconds)) }

@Test(arguments: Seeds.all)
func `a lease falls due exactly when a plain table says it expired, and cannot be renewed then`(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    var clock = LeaseClock(retryInterval: .seconds(3))
    var table: [LeaseID: (timeToLive: Int, expiry: Int)] = [:]
    var now = 0
    for _ in 0..<2_000 {
        now += Int.random(in: 0...3, using: &random)
        let expired = table.filter { $1.expiry <= now }.keys.sorted()
        try #require(clock.collectDue(now: at(now), limit: .max).sorted() == expired)
        for id in expired {
            #expect(throws: LeaseClockError.notFound(id)) { try clock.renew(id, now: at(now)) }
            #expect(clock.remaining(id, now: at(now)) == .zero)
            clock.remove(id)
            table[id] = nil
        }
        let id = LeaseID(Int64.random(in: 1...20, using: &random))
        if let lease = table[id], Bool.random(using: &random) {
            #expect(try clock.renew(id, now: at(now)) == .seconds(lease.timeToLive))
            table[id]?.expiry = now + lease.timeToLive
        } else {
            clock.remove(id)  // Also when absent: removal must be repeatable.
            let timeToLive = Int.random(in: 1...300, using: &random)
            clock.grant(id, timeToLive: .seconds(timeToLive), now: at(now))
            table[id] = (timeToLive, now + timeToLive)
        }
        let order = table.sorted { ($0.value.expiry, $0.key) < ($1.value.expiry, $1.key) }.map(\.key)
        #expect(clock.byExpiry() == order)
    }
}

@Test func `a lease that stays due is reported again after the retry interval, not before`() {
    var clock = LeaseClock(retryInterval: .seconds(3))
    clock.grant(LeaseID(7), timeToLive: .seconds(10), now: at(0))
    #expect(clock.collectDue(now: at(9), limit: .max).isEmpty)
    #expect(clock.collectDue(now: at(10), limit: .max) == [LeaseID(7)])
    #expect(clock.collectDue(now: at(12), limit: .max).isEmpty)
    #expect(clock.collectDue(now: at(13), limit: .max) == [LeaseID(7)])
}

@Test func `ten thousand leases that end together are reported in bounded portions, none forgotten`() {
    var clock = LeaseClock(retryInterval: .seconds(3))
    for id in 1...10_000 { clock.grant(LeaseID(Int64(id)), timeToLive: .seconds(5), now: at(0)) }
    var seen: Set<LeaseID> = []
    for _ in 0..<10 {
        let due = clock.collectDue(now: at(5), limit: 1_000)
        #expect(due.count == 1_000)
        seen.formUnion(due)
    }
    #expect(seen.count == 10_000)
    #expect(clock.collectDue(now: at(5), limit: 1_000).isEmpty)
}

@Test func `a suspended lease does not run down, and has its full time when it runs again`() throws {
    var clock = LeaseClock(retryInterval: .seconds(3))
    clock.grant(LeaseID(7), timeToLive: .seconds(10), now: at(0))
    let suspended7at9 = clock.suspend(LeaseID(7), now: at(9))
    #expect(suspended7at9)
    #expect(clock.collectDue(now: at(10), limit: .max).isEmpty)
    #expect(clock.collectDue(now: at(1_000), limit: .max).isEmpty)
    #expect(clock.remaining(LeaseID(7), now: at(1_000)) == .seconds(10))
    #expect(try clock.renew(LeaseID(7), now: at(1_000)) == .seconds(10))
    // A second call that waits with it holds it back too, until both are done.
    let suspended7at1000 = clock.suspend(LeaseID(7), now: at(1_000))
    #expect(suspended7at1000)
    clock.resume(LeaseID(7), now: at(1_001))
    #expect(clock.collectDue(now: at(1_500), limit: .max).isEmpty)
    clock.resume(LeaseID(7), now: at(2_001))
    #expect(clock.remaining(LeaseID(7), now: at(2_004)) == .seconds(7))
    // Once it runs, a further resume gives no time.
    clock.resume(LeaseID(7), now: at(2_005))
    #expect(clock.collectDue(now: at(2_010), limit: .max).isEmpty)
    #expect(clock.collectDue(now: at(2_011), limit: .max) == [LeaseID(7)])
}

@Test func `a lease past its time is not suspended any more, nor an unknown one`() {
    var clock = LeaseClock(retryInterval: .seconds(3))
    clock.grant(LeaseID(7), timeToLive: .seconds(10), now: at(0))
    let suspended7at10 = clock.suspend(LeaseID(7), now: at(10))
    #expect(!suspended7at10)
    let suspended8at10 = clock.suspend(LeaseID(8), now: at(10))
    #expect(!suspended8at10)
    #expect(clock.collectDue(now: at(10), limit: .max) == [LeaseID(7)])
}
