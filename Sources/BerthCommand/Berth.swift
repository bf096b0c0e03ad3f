import ArgumentParser

/// The command-line tool.
@main
struct Berth: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "berth",
        abstract: "A coordination store: fair locks, leases, watches and elections, for etcd's clients.",
        version: "berth 0.1.0",
        subcommands: [Serve.self])
}
