import GRPCTransport
import NIOCore
import Testing

@Suite struct ReconnectMachineTests {
    typealias Machine = ReconnectMachine

    /// A machine brought to `state` by events alone.
    private func machine(in state: Machine.State) -> Machine {
        var machine = Machine(initialBackOff: .milliseconds(100), maxBackOff: .seconds(1))
        switch state {
        case .idle: break
        case .connecting: _ = machine.callStarted(waits: false)
        case .ready:
            _ = machine.callStarted(waits: false)
            _ = machine.connected()
        case .backingOff:
            _ = machine.callStarted(waits: false)
            _ = machine.connectFailed(jitter: 0)
        case .closed: machine.close()
        }
        return machine
    }

    static let states: [Machine.State] = [.idle, .connecting, .ready, .backingOff, .closed]

    @Test(arguments: states) func `events bring a machine to each state`(state: Machine.State) {
        #expect(machine(in: state).state == state)
    }

    @Test(arguments: zip(states, [Machine.CallAction.queueAndConnect, .queue, .send, .failUnavailable, .failClosed]))
    func `a call that does not wait`(state: Machine.State, action: Machine.CallAction) {
        var machine = machine(in: state)
        let outcome = machine.callStarted(waits: false)
        #expect(outcome == action)
        #expect(machine.state == (state == .idle ? .connecting : state))
    }

    @Test(arguments: zip(states, [Machine.CallAction.queueAndConnect, .queue, .send, .queue, .failClosed]))
    func `a call that waits`(state: Machine.State, action: Machine.CallAction) {
        var machine = machine(in: state)
        let outcome = machine.callStarted(waits: true)
        #expect(outcome == action)
    }

    @Test(arguments: states) func `only who is connecting becomes ready`(state: Machine.State) {
        var machine = machine(in: state)
        let outcome = machine.connected()
        #expect(outcome == (state == .connecting))
        #expect(machine.state == (state == .connecting ? .ready : state))
    }

    @Test(arguments: states) func `only who is connecting backs off`(state: Machine.State) {
        var machine = machine(in: state)
        let wait = machine.connectFailed(jitter: 0.5)
        #expect((wait != nil) == (state == .connecting))
        #expect(machine.state == (state == .connecting ? .backingOff : state))
    }

    @Test(arguments: states, [true, false])
    func `after the wait who has calls connects, and who has none rests`(state: Machine.State, hasCalls: Bool) {
        var machine = machine(in: state)
        let outcome = machine.backOffElapsed(hasWaitingCalls: hasCalls)
        #expect(outcome == (state == .backingOff && hasCalls))
        #expect(machine.state == (state == .backingOff ? (hasCalls ? .connecting : .idle) : state))
    }

    @Test(arguments: states) func `a lost connection makes a ready machine idle`(state: Machine.State) {
        var machine = machine(in: state)
        machine.connectionEnded()
        #expect(machine.state == (state == .ready ? .idle : state))
    }

    @Test func `waits grow to their bound and start over after a success`() {
        var machine = machine(in: .connecting)
        var waits: [Int64?] = []
        for _ in 0..<8 {
            waits.append(machine.connectFailed(jitter: 0.5).map { $0.nanoseconds / 1_000_000 })
            _ = machine.backOffElapsed(hasWaitingCalls: true)
        }
        #expect(waits == [100, 160, 256, 409, 655, 1_000, 1_000, 1_000])
        _ = machine.connected()
        machine.connectionEnded()
        _ = machine.callStarted(waits: false)
        let first = machine.connectFailed(jitter: 0)
        #expect(first?.nanoseconds == 80_000_000)
    }
}
