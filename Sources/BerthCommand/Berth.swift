import ArgumentParser
import CRuntime
import Supervision

/// The command-line tool.
@main
struct Berth: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "berth",
        abstract: "A coordination store: fair locks, leases, watches and elections, for etcd's clients.",
        discussion: """
            Commands that speak with servers take --endpoints, or BERTH_ENDPOINTS from the environment, and print JSON \
            with -w json. See docs/command-line.md for their exit statuses.
            """,
        version: "berth 0.1.0",
        groupedSubcommands: [
            CommandGroup(
                name: "Locks and elections",
                subcommands: [LockCommand.self, ElectCommand.self, LocksCommand.self, LeaderCommand.self]),
            CommandGroup(
                name: "Keys and leases",
                subcommands: [
                    PutCommand.self, GetCommand.self, DelCommand.self, WatchCommand.self, TxnCommand.self,
                    LeaseCommand.self,
                ]),
            CommandGroup(
                name: "Servers",
                subcommands: [
                    Serve.self, StatusCommand.self, SnapshotCommand.self, ImportCommand.self, ExportCommand.self,
                    CheckCommand.self, DemoCommand.self, GuardCommand.self,
                ]),
        ])

    /// As argument-parser does it, but for wrong usage: one line, and a status that no command of `berth lock` has by
    /// chance. `serve` keeps its own.
    static func main() async {
        #if !DEBUG
            berth_stop_checking_exclusivity()
        #endif
        if CommandLine.arguments.dropFirst().first == GuardCommand._commandName { CommandGuard.ignoreSignals() }
        StartConditions.read()
        let arguments = Array(CommandLine.arguments.dropFirst())
        do {
            var command = try await asyncParseAsRoot(arguments)
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch {
            let isUsage = exitCode(for: error) == .validationFailure
            guard isUsage, arguments.first != Serve._commandName else { exit(withError: error) }
            Output.complain("\(message(for: error)); see berth \(helpPath(arguments))--help")
            exit(withError: ExitCode(ExitStatus.failed))
        }
    }

    /// The names of the command and subcommand that were called, as far as there are such.
    private static func helpPath(_ arguments: [String]) -> String {
        var path = ""
        var known = configuration.subcommands + configuration.groupedSubcommands.flatMap(\.subcommands)
        for argument in arguments {
            guard let next = known.first(where: { $0._commandName == argument }) else { break }
            path += "\(argument) "
            known = next.configuration.subcommands
        }
        return path
    }
}
