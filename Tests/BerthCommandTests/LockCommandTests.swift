import Supervision
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite struct LockCommandTests {
    @Test func `the seed's story is played by berth demo`() async throws {
        let demo = try await BerthProcess(["demo"]).rest()
        #expect(demo.status == 0)
        #expect(demo.lines.last == "Every step went as told.")
    }

    @Test func `a command's status is returned, and the lock is free behind it`() async throws {
        try await TestServer.with { server async throws in
            #expect(try await server.run("lock", "job", "--", "sh", "-c", "exit 7").status == 7)
            #expect(try await server.run("lock", "job", "--", "sh", "-c", "kill -USR1 $$").status == 138)
            #expect(try await server.run("lock", "job", "--", "no-such-command").status == 127)
            #expect(try await server.run("lock", "job", "--", "/").status == 126)
            #expect(try await server.run("locks", "show", "job").lines == ["job  free"])
        }
    }

    @Test func `a command writes under its lock, and nobody else does`() async throws {
        try await TestServer.with { server async throws in
            let script = #""$BERTH" put job mine --with-lock && "$BERTH" get job --values-only --with-lock"#
            #expect(try await server.run("lock", "job", "--", "sh", "-c", script).lines == ["OK", "mine"])
            let holder = try server.start("lock", "job", "--owner", "somebody")
            let handle = try #require(await holder.line())
            #expect(handle.hasPrefix("BERTH_LOCK_NAME=job BERTH_LOCK_KEY=job/"))
            let refused = try await server.run("put", "job", "theirs")
            #expect(refused.status == ExitStatus.locked)
            #expect(refused.lines.count == 1 && refused.lines[0].contains("held by somebody"))
            holder.closeInput()
            #expect(try await holder.status() == 0)
            #expect(try await server.run("put", "job", "theirs").status == 0)
        }
    }

    @Test func `who does not get the lock in time is told so, and stands in no line`() async throws {
        try await TestServer.with { server async throws in
            let holder = try server.start("lock", "job")
            _ = await holder.line()
            #expect(try await server.run("lock", "job", "--wait", "0", "--", "true").status == ExitStatus.notAcquired)
            #expect(
                try await server.run("lock", "job", "--wait", "50ms", "--", "true").status == ExitStatus.notAcquired)
            let waiter = try server.start("lock", "job", "--", "true")
            try await server.waiters(1, for: "job")
            waiter.process.send(.interrupt)
            #expect(try await waiter.status() == 130)
            try await server.waiters(0, for: "job")
            holder.process.send(.terminate)
            #expect(try await holder.status() == 0)
        }
    }

    @Test func `signals reach the command, and its answer is returned`() async throws {
        try await TestServer.with { server async throws in
            let script = "trap 'exit 9' TERM; echo up; while :; do sleep 0.01; done"
            let command = try server.start("lock", "job", "--", "sh", "-c", script)
            #expect(await command.line() == "up")
            kill(command.process.id, SIGTERM)
            #expect(try await command.status() == 9)
        }
    }

    @Test func `a broken lock ends its command, and who broke it is told`() async throws {
        try await TestServer.with { server async throws in
            let command = try server.start("lock", "job", "--", "sh", "-c", "echo up; sleep 1000")
            #expect(await command.line() == "up")
            let broken = try await server.run("locks", "break", "job", "--by", "me", "--reason", "it is stuck")
            #expect(broken.status == 0)
            let rest = try await command.rest()
            #expect(rest.status == ExitStatus.lost)
            #expect(rest.lines.contains { $0.contains("broken by me: it is stuck") })
            #expect(try await server.run("locks", "break", "job", "--reason", "again").status == 1)
        }
    }

    @Test func `a command whose berth is killed is ended by its guard`() async throws {
        try await TestServer.with { server async throws in
            let command = try server.start(
                "lock", "job", "--", "sh", "-c", "trap 'echo ended; exit' TERM; echo up; while :; do sleep 0.01; done")
            #expect(await command.line() == "up")
            kill(command.process.id, SIGKILL)
            #expect(await command.line(with: "ended") != nil)
        }
    }

    @Test func `a command that ignores SIGTERM is killed by its guard`() async throws {
        try await TestServer.with { server async throws in
            let script = "trap '' TERM; echo up; while :; do sleep 0.01; done"
            let command = try server.start("lock", "job", "--ttl", "2", "--grace", "100ms", "--", "sh", "-c", script)
            #expect(await command.line() == "up")
            kill(command.process.id, SIGKILL)
            // The end of the output: nobody of the group is left to write.
            #expect(try await command.rest().lines == [])
        }
    }

    @Test func `a command whose berth is stopped is gone before the next in line has the lock`() async throws {
        try await TestServer.with { server async throws in
            let script =
                #"trap 'echo ended; "$BERTH" get job -w json --with-lock; exit' TERM; echo up; while :; do sleep 0.01; done"#
            let first = try server.start("lock", "job", "--ttl", "2", "--", "sh", "-c", script)
            #expect(await first.line() == "up")
            let second = try server.start("lock", "job")
            kill(first.process.id, SIGSTOP)
            #expect(await first.line(with: "ended") != nil)
            // Still under the lock: the guard is early enough for the command to tidy up.
            #expect(await first.line(with: "\"count\":0") != nil)
            #expect(await second.line()?.hasPrefix("BERTH_LOCK_NAME=job") == true)
            kill(first.process.id, SIGCONT)
            #expect(try await first.status() == ExitStatus.lost)
            second.closeInput()
            #expect(try await second.status() == 0)
        }
    }

    @Test func `wrong usage is one line and status 125, and servers that do not answer are 122`() async throws {
        for arguments in [["lock"], ["lock", "job", "--permits", "0"], ["elect", "job"], ["put", "a"], ["nonsense"]] {
            let answer = try await BerthProcess(arguments).rest()
            #expect(answer.status == ExitStatus.failed)
            #expect(answer.lines.count == 1, "\(answer.lines)")
        }
        let away = try await BerthProcess(["lock", "job", "--timeout", "200ms", "--", "true"], endpoint: "127.0.0.1:1")
            .rest()
        #expect(away.status == ExitStatus.unreachable)
    }
}
