import Berth
import Supervision

/// The steps of the demonstration, each told when it has happened.
struct Story {
    let stage: DemoStage
    private let lock = "order:123"

    init(stage: DemoStage) { self.stage = stage }

    func tell() async throws {
        say("A server runs at \(stage.endpoint). Workers A, B and C all see invoice 101.")
        let a = try await aHasIt()
        try await onlyTheHolderWrites(a)
        let (b, c) = try await releaseHandsOver(a)
        try await aStoppedWorkerLoses(b, next: c)
        say("Every step went as told.")
    }

    /// A worker that holds, and the handle it printed.
    private struct Holder {
        var process: DemoProcess
        var handle: [String: String]
        var token: String { handle["BERTH_LOCK_TOKEN"] ?? "" }
    }

    private func aHasIt() async throws -> Holder {
        let a = try await holder(stage.start(acquire("A", ttl: 10, "--wait", "0")), "A")
        say("A acquires \(lock) for 10 seconds, and gets it: fencing token \(a.token).")
        for name in ["B", "C"] {
            let attempt = try await stage.run(acquire(name, ttl: 10, "--wait", "0"))
            try expect(attempt.status == ExitStatus.notAcquired, "\(name) does not get the lock", attempt)
            say("\(name) tries it too, and does not: exit status \(attempt.status).")
        }
        return a
    }

    private func onlyTheHolderWrites(_ a: Holder) async throws {
        let own = try await stage.run(["put", lock, "paid by A", "--with-lock"], a.handle)
        try expect(own.status == 0, "A's put with its handle succeeds", own)
        say("A puts 'paid by A' on the key \(lock) with its handle: done.")
        let read = try await stage.run(["get", lock, "--values-only", "--with-lock"], a.handle)
        try expect(read.lines == ["paid by A"], "A reads what it wrote", read)
        say("A reads it with its handle: 'paid by A'.")
        let foreign = try await stage.run(["put", lock, "paid by B"])
        try expect(foreign.status == ExitStatus.locked, "B's put without a handle is refused as locked", foreign)
        let after = try await stage.run(["get", lock, "--values-only"])
        try expect(after.lines == ["paid by A"], "B's put changed nothing", after)
        say("B puts 'paid by B' without a handle: refused, locked. The value is still 'paid by A'.")
    }

    private func releaseHandsOver(_ a: Holder) async throws -> (Holder, DemoProcess) {
        let b = try await stage.start(acquire("B", ttl: 2))
        try await waiters(1)
        let c = try await stage.start(acquire("C", ttl: 10))
        try await waiters(2)
        say("B waits in line, and C behind it.")
        a.process.closeInput()
        let status = try await stage.status(of: a.process)
        try expect(status == 0, "A releases in order", (status, []))
        let holding = try await holder(b, "B")
        say("A releases. B, first in line, has it: token \(holding.token).")
        return (holding, c)
    }

    private func aStoppedWorkerLoses(_ b: Holder, next: DemoProcess) async throws {
        b.process.process.send(Signal.stop)
        say("B is stopped with SIGSTOP. It took the lock for 2 seconds, and cannot renew it now.")
        let c = try await holder(next, "C")
        say("B's time is up. C, next in line, has it: token \(c.token).")
        let write = try await stage.run(["put", lock, "paid by C", "--with-lock"], c.handle)
        try expect(write.status == 0, "C's put succeeds", write)
        b.process.process.send(.continue)
        let late = try await stage.run(["put", lock, "paid by B, late", "--with-lock"], b.handle)
        try expect(late.status == ExitStatus.lost, "B's late put is refused as lost", late)
        let after = try await stage.run(["get", lock, "--values-only"])
        try expect(after.lines == ["paid by C"], "B's late put changed nothing", after)
        say("B wakes up and puts 'paid by B, late' with its old handle: refused, lost. The value is 'paid by C'.")
        let status = try await stage.status(of: b.process)
        try expect(status == ExitStatus.lost, "B is told that its lock was lost", (status, []))
        say("B's own process was told so too: exit status \(status).")
        c.process.closeInput()
        let end = try await stage.status(of: c.process)
        try expect(end == 0, "C releases in order", (end, []))
    }

    // MARK: Means

    private func acquire(_ owner: String, ttl: Int, _ more: String...) -> [String] {
        ["lock", lock, "--owner", owner, "--ttl", "\(ttl)"] + more
    }

    /// A worker once it has printed its handle.
    private func holder(_ process: DemoProcess, _ name: String) async throws -> Holder {
        guard let line = try await DemoStage.within({ await process.line() }) else {
            throw Failure("\(name) should hold \(lock), but ended")
        }
        var handle: [String: String] = [:]
        for word in line.split(separator: " ") {
            let parts = word.split(separator: "=", maxSplits: 1)
            if parts.count == 2 { handle[String(parts[0])] = String(parts[1]) }
        }
        guard handle["BERTH_LOCK_TOKEN"] != nil else { throw Failure("\(name) should hold \(lock), but says: \(line)") }
        return Holder(process: process, handle: handle)
    }

    /// Waits until so many wait in line, event by event.
    private func waiters(_ count: Int) async throws {
        let lock = lock
        let configuration = BerthConfiguration(endpoints: [stage.endpoint])
        let done = try await DemoStage.within { () async -> Bool? in
            do {
                return try await BerthClient.with(configuration) { client in
                    // Beginning with what is there, so that nobody who came early is missed.
                    let view = try await client.locks.inspect(lock)
                    if view.waiters >= count { return true }
                    for try await batch in client.locks.observe(lock, from: view.revision + 1) {
                        guard !batch.events.isEmpty else { continue }
                        if try await client.locks.inspect(lock).waiters >= count { return true }
                    }
                    return false
                }
            } catch {
                return false
            }
        }
        if done != true { throw Failure("expected \(count) in line for \(lock)") }
    }

    private func expect(_ isTrue: Bool, _ what: String, _ got: (status: Int32, lines: [String])) throws(Failure) {
        guard !isTrue else { return }
        let words = got.lines.isEmpty ? "" : ", saying: \(got.lines.joined(separator: " / "))"
        throw Failure("expected: \(what); but it ended with status \(got.status)\(words)", status: 1)
    }

    private func say(_ line: String) { Output.line(line) }
}
