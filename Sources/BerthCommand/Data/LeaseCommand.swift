import ArgumentParser
import Berth
import CommandText
import Supervision

/// `berth lease`.
struct LeaseCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lease", abstract: "Grant, end, renew and look at leases.",
        subcommands: [Grant.self, Revoke.self, KeepAlive.self, List.self, Show.self])

    /// `berth lease grant`.
    struct Grant: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "grant", abstract: "Grant a lease and print its number; nothing renews it by itself.")
        @Argument(help: "Time to live, at least 2s.") var ttl: TimeSpan
        @OptionGroup var connection: Connection

        func run() async throws {
            try await connection.run { client in
                let lease = try await client.leases.grant(ttl.duration)
                lease.stopRenewing()
                switch connection.writeOut {
                case .simple: Output.line("\(lease.id)")
                case .json:
                    Output.line(
                        .object([.init("lease", .lease(lease.id)), .init("ttl_ms", milliseconds: lease.timeToLive)]))
                }
            }
        }
    }

    /// `berth lease revoke`.
    struct Revoke: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "revoke", abstract: "End a lease, and with it the keys that hang on it.")
        @Argument var lease: LeaseArgument
        @OptionGroup var connection: Connection

        func run() async throws {
            try await connection.run { client in
                try await client.leases.revoke(lease.id)
                switch connection.writeOut {
                case .simple: Output.line("revoked \(lease.id)")
                case .json: Output.line(.object([.init("lease", .lease(lease.id)), .init("revoked", .bool(true))]))
                }
            }
        }
    }

    /// `berth lease keep-alive`.
    struct KeepAlive: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "keep-alive", abstract: "Renew a lease until a signal; with --once, one time.")
        @Argument var lease: LeaseArgument
        @Flag(help: "Renew it one time.") var once = false
        @OptionGroup var connection: Connection

        func run() async throws {
            let signals = SignalRouter()
            try await connection.run { client in
                if once { return tell(try await client.leases.renew(lease.id)) }
                let kept = try await client.leases.keep(lease.id)
                tell(kept.timeToLive)
                // Nil means that a signal ended the wait.
                let end = await signals.cancelling { await kept.lost }
                if case .success(.some) = end.result { throw BerthError.leaseNotFound }
            }
        }

        private func tell(_ timeToLive: Duration) {
            switch connection.writeOut {
            case .simple: Output.line("renewed \(lease.id) for \(DurationText.short(timeToLive))")
            case .json:
                Output.line(.object([.init("lease", .lease(lease.id)), .init("ttl_ms", milliseconds: timeToLive)]))
            }
        }
    }

    /// `berth lease list`.
    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "list", abstract: "List all leases.")
        @OptionGroup var connection: Connection

        func run() async throws {
            try await connection.run { client in
                let leases = try await client.leases.list()
                switch connection.writeOut {
                case .simple: for lease in leases { Output.line("\(lease)") }
                case .json: Output.line(.object([.init("leases", .array(leases.map { JSON.lease($0) }))]))
                }
            }
        }
    }

    /// `berth lease show`.
    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", abstract: "Show what is left of a lease, and the keys that hang on it.")
        @Argument var lease: LeaseArgument
        @OptionGroup var connection: Connection

        func run() async throws {
            try await connection.run { client in
                let status = try await client.leases.status(lease.id, keys: true)
                switch connection.writeOut {
                case .simple:
                    let left = DurationText.short(status.remaining)
                    Output.line("\(status.id)  \(left) left of \(DurationText.short(status.timeToLive))")
                    for key in status.keys { Output.line("  \(key)") }
                case .json:
                    Output.line(
                        .object([
                            .init("lease", .lease(status.id)), .init("ttl_ms", milliseconds: status.timeToLive),
                            .init("remaining_ms", milliseconds: status.remaining),
                            .init("keys", .array(status.keys.map { JSON.object([.init("key", $0)]) })),
                        ]))
                }
            }
        }
    }
}
