import ArgumentParser
import Berth
import CommandText
import Supervision

/// `berth lock`: runs a command while a lock is held.
struct LockCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lock",
        abstract: "Run a command while a lock is held.",
        discussion: """
            The command finds BERTH_LOCK_NAME, BERTH_LOCK_KEY, BERTH_LOCK_TOKEN, BERTH_LOCK_LEASE, BERTH_LOCK_TTL and \
            BERTH_ENDPOINTS in its environment; `berth put --with-lock` uses them. If the lock is lost or cannot be \
            renewed, the command's process group gets SIGTERM, and SIGKILL after the grace, before the lease ends. \
            Signals are passed on.

            Without a command the handle is printed, in one line a shell can evaluate, and the lock is held until a \
            signal or the end of standard input.

            Exit status: the command's, 128+n when signal n ended it; 122 no server could be reached, 123 the lock was \
            lost, 124 not acquired in time, 125 berth itself failed, 126 the command cannot be run, 127 not found.
            """)

    @Argument(help: "The lock.", completion: .lockNames)
    var name: String

    @Option(help: ArgumentHelp("How long the lock lives when nothing renews it.", valueName: "time"))
    var ttl = TimeSpan(.seconds(10))

    @Option(help: ArgumentHelp("Longest wait in line; 0 tries once (default: for ever).", valueName: "time"))
    var wait: TimeSpan?

    @Flag(help: "Share the lock with others who ask so.")
    var shared = false

    @Option(help: ArgumentHelp("Hold one of at most so many permits.", valueName: "count"))
    var permits: Int?

    @Option(
        name: .customLong("guard"),
        help: ArgumentHelp(
            "A key that others cannot write meanwhile; may be repeated (default: the one named like the lock).",
            valueName: "key"))
    var guards: [String] = []

    @Flag(help: "Guard no key.")
    var noGuard = false

    @Option(help: ArgumentHelp("Shown to others (default: host and process id).", valueName: "label"))
    var owner: String?

    @Option(
        name: .customLong("attribute"),
        help: ArgumentHelp("Shown to others too; may be repeated.", valueName: "name=value"))
    var attributes: [String] = []

    @Option(
        help: ArgumentHelp(
            "From SIGTERM to SIGKILL when the lock is lost; at most half the ttl (default: a quarter, 10s at most).",
            valueName: "time"))
    var grace: TimeSpan?

    @OptionGroup var connection: Connection

    @Argument(parsing: .postTerminator, help: "What to run, behind --.")
    var command: [String] = []

    func validate() throws {
        if shared, permits != nil { throw ValidationError("--shared and --permits exclude each other") }
        if let permits, permits < 1 { throw ValidationError("--permits is \(permits); expected at least 1") }
        if noGuard, !guards.isEmpty { throw ValidationError("--guard and --no-guard exclude each other") }
        for attribute in attributes where !attribute.contains("=") {
            throw ValidationError("--attribute is '\(attribute)'; expected name=value")
        }
        try Self.check(grace, ttl)
    }

    /// A grace too long would have SIGTERM sent between two renewals.
    static func check(_ grace: TimeSpan?, _ ttl: TimeSpan) throws {
        if ttl.duration <= .zero { throw ValidationError("--ttl is 0; expected at least 2s") }
        // The server raises shorter ones.
        let longest = LeaseTiming.longestGrace(for: max(ttl.duration, .seconds(2)))
        if let grace, grace.duration > longest {
            throw ValidationError(
                "--grace is \(DurationText.short(grace.duration)); expected at most half the ttl, "
                    + DurationText.short(longest))
        }
    }

    private var options: LockOptions {
        var options = LockOptions(wait: wait?.duration, owner: owner ?? "")
        if shared { options.mode = .shared }
        if let permits { options.mode = .permits(permits) }
        if noGuard { options.guards = [] }
        if !guards.isEmpty { options.guards = guards.map { .key(Bytes($0)) } }
        for attribute in attributes {
            let parts = attribute.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            options.attributes[String(parts[0])] = String(parts[1])
        }
        return options
    }

    func run() async throws {
        let signals = SignalRouter()
        try await connection.run { client in
            let options = options
            let time = ttl.duration
            let acquired = await signals.cancelling {
                try await WaitingNote.beside(client, name) {
                    Tenure(try await client.locks.acquire(name, for: time, options: options))
                }
            }
            let tenure: Tenure
            switch acquired.result {
            case .success(let held): tenure = held
            case .failure(let error):
                if let signal = acquired.signal { throw ExitCode(CommandEnd.killed(signal).status) }
                throw error
            }
            if let signal = acquired.signal {
                // Granted just as somebody gave up.
                _ = try await tenure.release()
                throw ExitCode(CommandEnd.killed(signal).status)
            }
            guard !command.isEmpty else { return try await hold(tenure, signals) }
            let end = try await tenure.run(
                command, variables: connection.variables, grace: grace?.duration, signals: signals)
            switch end {
            case .ended(let end): throw ExitCode(end.status)
            case .lost(let line): throw Failure(line, status: ExitStatus.lost)
            }
        }
    }

    private func hold(_ tenure: Tenure, _ signals: SignalRouter) async throws {
        switch connection.writeOut {
        case .simple: Output.line(tenure.line)
        case .json: Output.line(tenure.json)
        }
        let ended = await signals.cancelling { () async throws -> BerthError? in
            await withTaskGroup(of: BerthError?.self) { group in
                group.addTask { await tenure.lost() }
                group.addTask {
                    await StandardInput.end()
                    return nil
                }
                defer { group.cancelAll() }
                return await group.next() ?? nil
            }
        }
        if case .success(let error?) = ended.result { throw error }
        if case .lostBefore = try await tenure.release() {
            throw Failure("\(tenure.name) had been lost before it was released", status: ExitStatus.lost)
        }
    }
}
