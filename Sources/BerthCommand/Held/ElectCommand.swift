import ArgumentParser
import Berth
import CommandText
import Supervision

/// `berth elect`: runs a command in one place at a time.
struct ElectCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "elect",
        abstract: "Run a command wherever the leader is.",
        discussion: """
            Waits until it leads and runs the command then; whoever is next takes over when this process or its machine \
            dies. After a loss of leadership the command is ended as by `berth lock`, and this process stands for \
            election again, unless --once. When the command ends by itself, it resigns and returns the command's status.

            Environment and exit statuses are those of `berth lock`.
            """)

    @Argument(help: "The election.", completion: .lockNames)
    var name: String

    @Option(help: ArgumentHelp("What others see of the leader (default: host and process id).", valueName: "text"))
    var value: String?

    @Option(help: ArgumentHelp("How long leadership lives when nothing renews it.", valueName: "time"))
    var ttl = TimeSpan(.seconds(10))

    @Flag(help: "End after a loss of leadership, with status 123.")
    var once = false

    @Option(help: ArgumentHelp("From SIGTERM to SIGKILL, as for berth lock.", valueName: "time"))
    var grace: TimeSpan?

    @OptionGroup var connection: Connection

    @Argument(parsing: .postTerminator, help: "What to run, behind --.")
    var command: [String] = []

    /// Pause between campaigns while no server answers.
    private static let pause = Duration.seconds(1)

    func validate() throws {
        if command.isEmpty { throw ValidationError("no command; expected berth elect \(name) -- COMMAND") }
        try LockCommand.check(grace, ttl)
    }

    func run() async throws {
        let signals = SignalRouter()
        try await connection.run { client in
            // A wrong address should be seen. Once a server was there, a standby outlasts its absence: that is what it is for.
            _ = try await client.status()
            while true {
                let tenure = try await campaign(client, signals)
                let end = try await tenure.run(
                    command, variables: connection.variables, grace: grace?.duration, signals: signals)
                switch end {
                case .ended(let end): throw ExitCode(end.status)
                case .lost(let line):
                    let failure = Failure(line, status: ExitStatus.lost)
                    if once || signals.askedToEnd != nil { throw failure }
                    Output.complain("\(failure.line); standing for election again")
                }
            }
        }
    }

    /// Stands until it leads, also while no server answers.
    private func campaign(_ client: BerthClient, _ signals: SignalRouter) async throws -> Tenure {
        let name = name
        let time = ttl.duration
        let proposal = value.map { Bytes($0) } ?? Bytes(BerthConfiguration.defaultOwner)
        let campaign = await signals.cancelling {
            try await WaitingNote.beside(client, name) {
                while true {
                    do throws(BerthError) {
                        return Tenure(try await client.elections.campaign(name, value: proposal, for: time))
                    } catch {
                        guard Self.isPassing(error) else { throw error }
                    }
                    try await Task.sleep(for: Self.pause)
                }
            }
        }
        if let signal = campaign.signal {
            if case .success(let tenure) = campaign.result { _ = try await tenure.release() }
            throw ExitCode(CommandEnd.killed(signal).status)
        }
        return try campaign.result.get()
    }

    /// Another campaign may well succeed.
    private static func isPassing(_ error: BerthError) -> Bool {
        switch error {
        case .unreachable, .timedOut, .lockLost, .uncertain: true
        case .locked, .notAcquired, .leaseNotFound, .compacted, .futureRevision, .noSpace, .tooLarge, .unsupported,
            .unauthenticated, .permissionDenied, .invalid, .server, .closed, .cancelled:
            false
        }
    }
}
