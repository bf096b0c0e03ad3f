import Berth
import TestSupport
import Testing

@Suite struct LeaseScheduleTests {
    private let start = ContinuousClock.now
    private let id = LeaseID(1)

    @Test func `a renewal is due after a third, and its answer counts from when it was sent`() {
        var schedule = LeaseSchedule()
        schedule.add(id, timeToLive: .seconds(9), sentAt: start)
        #expect(schedule.work(now: start + .seconds(2), canSend: true).due == [])
        let due = schedule.work(now: start + .seconds(3), canSend: true)
        #expect(due.due == [id])
        #expect(schedule.work(now: start + .seconds(4), canSend: true).due == [])
        let isGone = schedule.answered(id, timeToLive: .seconds(9))
        #expect(!isGone)
        #expect(schedule.deadline(of: id) == start + .seconds(12))
        #expect(schedule.work(now: start + .seconds(5), canSend: true).next == start + .seconds(6))
    }

    @Test func `a given interval replaces the third`() {
        var schedule = LeaseSchedule(renewalInterval: .seconds(1))
        schedule.add(id, timeToLive: .seconds(600), sentAt: start)
        #expect(schedule.work(now: start, canSend: true).next == start + .seconds(1))
        #expect(schedule.work(now: start + .seconds(1), canSend: true).due == [id])
        _ = schedule.answered(id, timeToLive: .seconds(600))
        #expect(schedule.deadline(of: id) == start + .seconds(601))
        #expect(schedule.work(now: start + .seconds(1), canSend: true).next == start + .seconds(2))
    }

    @Test func `an answer is never taken for that of a later request`() {
        var schedule = LeaseSchedule()
        schedule.add(id, timeToLive: .seconds(9), sentAt: start)
        _ = schedule.work(now: start + .seconds(3), canSend: true)
        // Renewed by other means while a renewal is on its way, whose answer comes late: it counts from its own request.
        schedule.add(id, timeToLive: .seconds(9), sentAt: start + .seconds(4))
        _ = schedule.work(now: start + .seconds(7), canSend: true)
        _ = schedule.answered(id, timeToLive: .seconds(9))
        #expect(schedule.deadline(of: id) == start + .seconds(13))
    }

    @Test func `what the server does not know is lost`() {
        var schedule = LeaseSchedule()
        schedule.add(id, timeToLive: .seconds(9), sentAt: start)
        _ = schedule.work(now: start + .seconds(3), canSend: true)
        let isLost = schedule.answered(id, timeToLive: .zero)
        #expect(isLost)
        #expect(schedule.isEmpty)
    }

    @Test func `without a stream nothing is due, and the deadline passes all the same`() {
        var schedule = LeaseSchedule()
        schedule.add(id, timeToLive: .seconds(9), sentAt: start)
        let work = schedule.work(now: start + .seconds(5), canSend: false)
        #expect(work.due == [])
        #expect(work.next == start + .seconds(9))
        #expect(schedule.work(now: start + .seconds(9), canSend: false).lost == [id])
        #expect(schedule.work(now: start + .seconds(9), canSend: false).next == nil)
    }

    @Test func `what was on its way is due again on the next stream, and a stream that does not answer is given up`() {
        var schedule = LeaseSchedule()
        schedule.add(id, timeToLive: .seconds(9), sentAt: start)
        _ = schedule.work(now: start + .seconds(3), canSend: true)
        #expect(schedule.work(now: start + .seconds(6), canSend: true).isStalled)
        schedule.disconnected(now: start + .seconds(6))
        #expect(schedule.work(now: start + .seconds(6), canSend: true).due == [id])
    }

    /// A server that ends a lease no earlier than its time after a request came in.
    @Test(arguments: Seeds.all)
    func `a lease that counts as alive lives at the server, whatever the network does`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var schedule = LeaseSchedule()
        var now = start
        var serverEnd = now + .seconds(6)
        var arrivals: [ContinuousClock.Instant] = []
        schedule.add(id, timeToLive: .seconds(6), sentAt: now)
        for _ in 0..<2_000 {
            now += .milliseconds(Int.random(in: 1...1_500, using: &random))
            let isConnected = Int.random(in: 0..<4, using: &random) > 0
            let work = schedule.work(now: now, canSend: isConnected)
            if !work.due.isEmpty { arrivals.append(now + .milliseconds(Int.random(in: 0...900, using: &random))) }
            if let arrival = arrivals.first, arrival <= now {
                arrivals.removeFirst()
                if arrival < serverEnd {
                    serverEnd = arrival + .seconds(6)
                    if isConnected { _ = schedule.answered(id, timeToLive: .seconds(6)) }
                } else {
                    _ = schedule.answered(id, timeToLive: .zero)
                }
            }
            if !isConnected {
                schedule.disconnected(now: now)
                arrivals = []
            }
            if let deadline = schedule.deadline(of: id) {
                try #require(deadline <= serverEnd, "the client trusts a lease longer than the server keeps it")
            } else {
                arrivals = []
                serverEnd = now + .seconds(6)
                schedule.add(id, timeToLive: .seconds(6), sentAt: now)
            }
        }
    }
}
