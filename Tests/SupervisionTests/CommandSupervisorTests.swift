import Supervision
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// A lease of ten seconds, last renewed at 0: SIGTERM is due at 7.3 s, SIGKILL at 9.8 s.
private struct Fixture {
    var machine = CommandSupervisor(
        timing: LeaseTiming(timeToLive: .seconds(10)), deadline: at(10), hasJobControl: true)
    mutating func handle(_ event: CommandSupervisor.Event, _ seconds: Double) -> [CommandSupervisor.Action] {
        machine.handle(event, now: at(seconds))
    }
}

private func at(_ seconds: Double) -> MonotonicInstant {
    MonotonicInstant(sinceBoot: .milliseconds(Int64(seconds * 1000)))
}

private let terminated: [CommandSupervisor.Action] = [.send(.terminate), .send(.continue)]
private let unrenewed = "it could not be renewed in time"
private let stop = Signal(SIGSTOP)
private let terminalStop = Signal(SIGTSTP)

@Suite struct CommandSupervisorTests {
    @Test func `a command that ends by itself is reported as it ended`() {
        var fixture = Fixture()
        #expect(fixture.handle(.ended(.exited(7)), 3) == [.finish(.ended(.exited(7)))])
        #expect(fixture.machine.wakeUp == nil)
    }

    @Test
    func `a command that ends when the lock is not surely held any more counts as lost, though nobody had looked`() {
        var fixture = Fixture()
        #expect(
            fixture.handle(.ended(.exited(0)), 11)
                == [.send(.kill), .finish(.lost(reason: unrenewed, .exited(0)))])
    }

    @Test func `a lease that is not renewed ends the command before itself, SIGTERM first and SIGKILL after the grace`()
    {
        var fixture = Fixture()
        #expect(fixture.machine.wakeUp == at(7.3))
        #expect(fixture.handle(.tick, 7.299) == [])
        #expect(fixture.handle(.tick, 7.3) == terminated)
        #expect(fixture.machine.wakeUp == at(9.8))
        #expect(fixture.handle(.tick, 9.799) == [])
        #expect(fixture.handle(.tick, 9.8) == [.send(.kill)])
        #expect(fixture.machine.wakeUp == nil)
        #expect(
            fixture.handle(.ended(.killed(.kill)), 9.81)
                == [.send(.kill), .finish(.lost(reason: unrenewed, .killed(.kill)))])
    }

    @Test func `a renewal moves the times, and an older one does not move them back`() {
        var fixture = Fixture()
        #expect(fixture.handle(.renewed(until: at(13)), 3) == [])
        #expect(fixture.machine.wakeUp == at(10.3))
        #expect(fixture.handle(.renewed(until: at(12)), 3) == [])
        #expect(fixture.machine.wakeUp == at(10.3))
    }

    @Test func `a lost lock ends the command within the grace, and never later than the lease would have ended`() {
        var early = Fixture()
        #expect(early.handle(.lost("broken"), 1) == terminated)
        #expect(early.machine.wakeUp == at(3.5))
        var late = Fixture()
        #expect(late.handle(.renewed(until: at(10)), 8) == [])
        #expect(late.handle(.lost("broken"), 8) == terminated)
        #expect(late.machine.wakeUp == at(9.8))
    }

    @Test func `a process that wakes after its lease kills at once`() {
        var paused = Fixture()
        #expect(paused.handle(.tick, 20) == [.send(.kill)])
        var told = Fixture()
        #expect(told.handle(.lost("expired"), 20) == [.send(.kill)])
    }

    @Test func `once SIGTERM was sent a renewal changes nothing`() {
        var fixture = Fixture()
        #expect(fixture.handle(.tick, 7.3) == terminated)
        #expect(fixture.handle(.renewed(until: at(17)), 7.4) == [])
        #expect(fixture.machine.wakeUp == at(9.8))
        #expect(fixture.handle(.lost("expired"), 8) == [])
        #expect(
            fixture.handle(.ended(.exited(0)), 8)
                == [.send(.kill), .finish(.lost(reason: unrenewed, .exited(0)))])
    }

    @Test func `signals are passed on until SIGKILL was sent`() {
        var fixture = Fixture()
        for signal in Signal.passedOn { #expect(fixture.handle(.signal(signal), 1) == [.send(signal)]) }
        #expect(fixture.handle(.tick, 7.3) == terminated)
        #expect(fixture.handle(.signal(.interrupt), 7.4) == [.send(.interrupt)])
        #expect(fixture.handle(.tick, 9.8) == [.send(.kill)])
        #expect(fixture.handle(.signal(.interrupt), 9.9) == [])
    }

    @Test func `a stop from the terminal stops the whole job, a plain SIGSTOP does not`() {
        var fixture = Fixture()
        #expect(fixture.handle(.stopped(by: terminalStop, inForeground: true), 1) == [.suspend])
        #expect(fixture.handle(.continued, 2) == [.resume])
        #expect(fixture.handle(.stopped(by: stop, inForeground: true), 3) == [])
        var detached = CommandSupervisor(
            timing: LeaseTiming(timeToLive: .seconds(10)), deadline: at(10), hasJobControl: false)
        #expect(detached.handle(.stopped(by: terminalStop, inForeground: true), now: at(1)) == [])
    }

    @Test
    func
        `a command that used the terminal just before it was handed over goes on, one in the background stops the job`()
    {
        var fixture = Fixture()
        for signal in [SIGTTIN, SIGTTOU] {
            #expect(fixture.handle(.stopped(by: Signal(signal), inForeground: true), 1) == [.resume])
            #expect(fixture.handle(.stopped(by: Signal(signal), inForeground: false), 1) == [.suspend])
        }
    }

    @Test func `a command that is stopped is woken to see SIGTERM`() {
        var fixture = Fixture()
        #expect(fixture.handle(.tick, 7.3) == terminated)
        #expect(fixture.handle(.stopped(by: stop, inForeground: true), 7.4) == [.send(.continue)])
        #expect(fixture.handle(.stopped(by: terminalStop, inForeground: true), 7.4) == [.send(.continue)])
    }

    @Test func `the guard leaves SIGTERM to the supervisor that sent it, and kills half a margin later`() {
        let timing = LeaseTiming(timeToLive: .seconds(10)).forGuard
        var machine = CommandSupervisor(timing: timing, deadline: at(10), hasJobControl: false)
        #expect(machine.wakeUp == at(7.4))
        #expect(machine.handle(.terminating, now: at(7.3)) == [])
        #expect(machine.handle(.tick, now: at(9.8)) == [])
        #expect(machine.handle(.tick, now: at(9.9)) == [.send(.kill)])
    }

    @Test func `nothing happens after the end`() {
        var fixture = Fixture()
        #expect(fixture.handle(.ended(.exited(0)), 1) == [.finish(.ended(.exited(0)))])
        let events: [CommandSupervisor.Event] = [
            .tick, .renewed(until: at(30)), .lost("late"), .terminating, .signal(.terminate),
            .stopped(by: stop, inForeground: true),
            .continued, .ended(.exited(1)),
        ]
        for event in events { #expect(fixture.handle(event, 20) == []) }
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `whatever happens, SIGKILL or the end comes before the lease does if ticks come when asked for`(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<200 {
            let timeToLive = Duration.milliseconds(Int64.random(in: 2_000...60_000, using: &random))
            let grace =
                Bool.random(using: &random) ? nil : Duration.milliseconds(Int64.random(in: 0...90_000, using: &random))
            let timing = LeaseTiming(timeToLive: timeToLive, grace: grace)
            var deadline = MonotonicInstant(sinceBoot: timeToLive)
            var now = MonotonicInstant(sinceBoot: .zero)
            var machine = CommandSupervisor(timing: timing, deadline: deadline, hasJobControl: true)
            var isKilled = false
            // Renewals for a while, then silence; other events all the time.
            for round in 0..<100 where !isKilled {
                let next = now + .milliseconds(Int64.random(in: 0...2_000, using: &random))
                now = machine.wakeUp.map { max(now, min($0, next)) } ?? next
                var actions = machine.handle(.tick, now: now)
                switch Int.random(in: 0..<8, using: &random) {
                case 0 where round < 30 && !machine.isEnding:
                    deadline = now + timeToLive
                    actions += machine.handle(.renewed(until: deadline), now: now)
                case 1: actions += machine.handle(.signal(.interrupt), now: now)
                case 2: actions += machine.handle(.stopped(by: stop, inForeground: true), now: now)
                case 3 where round > 20: actions += machine.handle(.lost("broken"), now: now)
                default: break
                }
                isKilled = actions.contains(.send(.kill))
                #expect(now < deadline)
            }
            #expect(isKilled || now < deadline)
        }
    }
}

@Test func `the grace is cut to half the time to live, so that a renewal can be repeated`() {
    #expect(LeaseTiming(timeToLive: .seconds(10)).grace == .milliseconds(2_500))
    #expect(LeaseTiming(timeToLive: .seconds(10), grace: .seconds(9)).grace == .seconds(5))
    #expect(LeaseTiming(timeToLive: .seconds(600)).grace == .seconds(10))
    #expect(LeaseTiming(timeToLive: .seconds(2)).margin == .milliseconds(200))
    #expect(LeaseTiming(timeToLive: .seconds(600)).margin == .seconds(1))
}

@Test func `what is said to a guard is read back, and nonsense is not`() {
    for message in [CommandGuard.Message.deadline(at(12.5)), .ending] {
        #expect(CommandGuard.Message(message.line) == message)
    }
    for line in ["", "until", "until x", "until 1 2", "ending now"] {
        #expect(CommandGuard.Message(line) == nil)
    }
}
