import Supervision
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite struct OtherCommandTests {
    @Test func `an election's job moves when its leader dies, and again after a break`() async throws {
        try await TestServer.with { server async throws in
            let first = try server.start(
                "elect", "e", "--ttl", "2", "--value", "one", "--", "sh", "-c", "echo first; sleep 1000")
            #expect(await first.line() == "first")
            let second = try server.start("elect", "e", "--value", "two", "--", "sh", "-c", "echo second; sleep 1000")
            try await server.waiters(1, for: "e")
            #expect(try await server.run("leader", "e").lines.first?.hasPrefix("one  token ") == true)
            kill(first.process.id, SIGKILL)
            #expect(await second.line() == "second")
            #expect(try await server.run("leader", "e").lines.first?.hasPrefix("two  token ") == true)
            #expect(try await server.run("locks", "break", "e", "--reason", "test").status == 0)
            var lines: [String] = []
            while let line = await second.line() {
                lines.append(line)
                if line == "second" { break }
            }
            #expect(lines.contains { $0.contains("standing for election again") })
            second.process.send(.terminate)
            #expect(try await second.rest().status == 143)
            #expect(try await server.run("leader", "e").status == 1)
        }
    }

    @Test func `election with --once ends after a loss, and a command that ends resigns`() async throws {
        try await TestServer.with { server async throws in
            let once = try server.start("elect", "e", "--once", "--", "sh", "-c", "echo up; sleep 1000")
            #expect(await once.line() == "up")
            #expect(try await server.run("locks", "break", "e", "--reason", "test").status == 0)
            #expect(try await once.rest().status == ExitStatus.lost)
            #expect(try await server.run("elect", "e", "--", "sh", "-c", "exit 5").status == 5)
            #expect(try await server.run("leader", "e").lines == ["nobody leads e"])
        }
    }

    @Test func `keys are written, read, watched and deleted`() async throws {
        try await TestServer.with { server async throws in
            #expect(try await server.run("put", "a", "1").lines == ["OK"])
            #expect(try await server.run("put", "a", "2", "--prev-kv").lines == ["OK", "a", "1"])
            #expect(try await server.run("get", "a").lines == ["a", "2"])
            #expect(try await server.run("get", "a", "--rev", "2", "--values-only").lines == ["1"])
            #expect(try await server.run("get", "nothing").status == 1)
            #expect(try await server.run("put", "b", "3").status == 0)
            #expect(try await server.run("get", "", "--prefix", "--keys-only").lines == ["a", "b"])
            #expect(try await server.run("get", "b", "--from-key", "--count-only").lines == ["1"])
            #expect(
                try await server.run("get", "b", "-w", "json").lines == [
                    #"{"revision":4,"count":1,"more":false,"kvs":[{"key":"b","value":"3","create_revision":4,"mod_revision":4,"version":1,"lease":null}]}"#
                ])
            #expect(try await server.run("del", "a", "--prev-kv").lines == ["1", "a", "2"])
            let watch = try server.start("watch", "a", "--rev", "3", "-w", "json")
            #expect(
                await watch.line()
                    == #"{"event":"put","revision":3,"kv":{"key":"a","value":"2","create_revision":2,"mod_revision":3,"version":2,"lease":null},"prev_kv":null}"#
            )
            #expect(await watch.line()?.hasPrefix(#"{"event":"delete","revision":5,"#) == true)
            watch.process.send(.terminate)
        }
    }

    @Test func `a transaction's script decides its status, and a mistake in it names its line`() async throws {
        try await TestServer.with { server async throws in
            func txn(_ script: String) async throws -> (status: Int32, lines: [String]) {
                try await BerthProcess(
                    ["lock", "t", "--", "sh", "-c", #"printf "$0" | "$BERTH" txn"#, script], endpoint: server.endpoint
                ).rest()
            }
            let script = #"missing k\nthen\n put k v\nelse\n get k\n"#
            #expect(try await txn(script) == (0, ["SUCCESS", "", "OK"]))
            #expect(try await txn(script) == (1, ["FAILURE", "", "k", "v"]))
            #expect(try await txn(#"then\n move a b\n"#).lines.first?.contains("line 2") == true)
        }
    }

    @Test func `leases are granted, shown and revoked`() async throws {
        try await TestServer.with { server async throws in
            let lease = try #require(try await server.run("lease", "grant", "60s").lines.first)
            #expect(try await server.run("put", "k", "v", "--lease", lease).status == 0)
            #expect(try await server.run("lease", "list").lines == [lease])
            #expect(try await server.run("lease", "show", lease).lines.last == "  k")
            #expect(try await server.run("lease", "keep-alive", "--once", lease).status == 0)
            #expect(try await server.run("lease", "revoke", lease).status == 0)
            #expect(try await server.run("get", "k").status == 1)
            #expect(try await server.run("lease", "revoke", lease).status == ExitStatus.failed)
        }
    }

    @Test(arguments: ["bash", "zsh", "fish"])
    func `completion scripts are written`(shell: String) async throws {
        let script = try await BerthProcess(["--generate-completion-script", shell]).rest()
        #expect(script.status == 0)
        #expect(script.lines.count > 50)
    }
}
