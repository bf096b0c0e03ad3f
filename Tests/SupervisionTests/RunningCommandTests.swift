import Dispatch
import Supervision
import Synchronization
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// A lease whose owner is this test.
private final class TestLease: Sendable {
    private let deadline: Mutex<MonotonicInstant>
    private let loss = AsyncStream.makeStream(of: String.self)
    init(_ time: Duration) { deadline = Mutex(.now + time) }

    func lose(_ reason: String) { loss.continuation.yield(reason) }

    func lease(_ timing: LeaseTiming) -> RunningCommand.Lease {
        RunningCommand.Lease(
            timing: timing, remaining: { max(.zero, self.deadline.withLock { $0 } - .now) },
            lost: { await self.loss.stream.first { _ in true } })
    }
}

/// A named pipe, by which a command says that it ignores SIGTERM now.
private final class Pipe: Sendable {
    private let folder: String

    init() throws {
        var template = Array("/tmp/berth-supervision-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        try #require(mkfifo(folder + "/pipe", 0o600) == 0)
    }

    deinit {
        unlink(folder + "/pipe")
        rmdir(folder)
    }

    /// Ignores SIGTERM, says so to whoever listens, and goes on for ever.
    var script: String { "trap '' TERM; (echo > \(folder)/pipe) & while :; do sleep 1000; done" }

    func whenOpened(_ body: @escaping @Sendable () -> Void) {
        let path = folder + "/pipe"
        DispatchQueue(label: "pipe").async {
            close(open(path, O_RDONLY))
            body()
        }
    }
}

private let long = LeaseTiming(timeToLive: .seconds(1_000))

private func run(
    _ script: String, _ lease: TestLease = TestLease(.seconds(1_000)), timing: LeaseTiming = long,
    signals: SignalRouter = SignalRouter([])
) async throws -> CommandOutcome {
    try await RunningCommand.run(
        ["sh", "-c", script], variables: ["BERTH_TEST": "a b"], lease: lease.lease(timing), signals: signals,
        guardProgram: nil, report: { _ in })
}

@Suite struct RunningCommandTests {
    @Test func `a command's status is its own, or its signal's`() async throws {
        #expect(try await run("exit 3") == .ended(.exited(3)))
        #expect(try await run("kill -USR1 $$") == .ended(.killed(Signal(SIGUSR1))))
        #expect(CommandEnd.killed(Signal(SIGUSR1)).status == 138)
    }

    @Test func `a command sees the variables set for it and those there were`() async throws {
        #expect(try await run(#"test "$BERTH_TEST" = "a b" && test -n "$PATH""#) == .ended(.exited(0)))
    }

    @Test func `a command has a process group of its own, and no signal blocked`() async throws {
        #expect(try await run("test $(ps -o pgid= -p $$) = $$") == .ended(.exited(0)))
        #expect(try await run("grep -q '^SigBlk:.0*$' /proc/self/status") == .ended(.exited(0)))
    }

    @Test func `a command that is not there is 127, one that cannot be run 126`() {
        #expect(throws: ChildProcess.StartFailure(command: "no-such-command", code: ENOENT)) {
            _ = try ChildProcess.start(["no-such-command"])
        }
        #expect(ChildProcess.StartFailure(command: "x", code: ENOENT).status == 127)
        #expect(ChildProcess.StartFailure(command: "/etc", code: EACCES).status == 126)
    }

    @Test func `a lost lock ends the whole process group, though it ignores SIGTERM`() async throws {
        let lease = TestLease(.seconds(1_000))
        let ready = try Pipe()
        ready.whenOpened { lease.lose("broken by a test") }
        var timing = long
        timing.grace = .milliseconds(100)
        let outcome = try await run(ready.script, lease, timing: timing)
        #expect(outcome == .lost(reason: "broken by a test", .killed(.kill)))
    }

    // When exactly is shown on a virtual clock, see CommandSupervisorTests: here a starved machine may be late.
    @Test func `a command whose lease is not renewed is ended, though it ignores SIGTERM`() async throws {
        let ready = try Pipe()
        var timing = LeaseTiming(timeToLive: .seconds(1))
        timing.grace = .milliseconds(300)
        let outcome = try await run(ready.script, TestLease(.seconds(1)), timing: timing)
        guard case .lost("it could not be renewed in time", let end) = outcome else {
            Issue.record("\(outcome)")
            return
        }
        // A machine so slow that the command had not yet begun to ignore it.
        #expect(end == .killed(.kill) || end == .killed(.terminate))
    }

    @Test func `SIGTERM to this process reaches the command`() async throws {
        let signals = SignalRouter([Signal(SIGUSR2)])
        kill(getpid(), SIGUSR2)
        let outcome = try await run("trap 'exit 9' USR2; while :; do sleep 0.01; done", signals: signals)
        // It may come before the shell has set its trap.
        #expect(outcome == .ended(.exited(9)) || outcome == .ended(.killed(Signal(SIGUSR2))))
    }
}
