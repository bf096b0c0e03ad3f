import ArgumentParser
import Berth
import CommandText

#if canImport(Glibc)
    import Glibc
#endif

/// `berth locks`: what there is to see of locks, and the operator's means.
struct LocksCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "locks", abstract: "Look at locks, and break one that is stuck.",
        subcommands: [List.self, Show.self, LocksWatchCommand.self, LocksBreakCommand.self])

    /// `berth locks list`.
    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "List the locks whose names begin with a prefix, and how many hold and wait."
        )

        @Argument(help: "The beginning of their names; nothing means all.")
        var prefix = ""

        @OptionGroup var connection: Connection

        func run() async throws {
            try await connection.run { client in
                var locks: [LockSummary] = []
                var page: LockList
                repeat {
                    page = try await client.locks.list(prefix: Bytes(prefix), after: locks.last?.name)
                    locks += page.locks
                } while page.more && !page.locks.isEmpty
                switch connection.writeOut {
                case .simple: for line in LockText.list(locks) { Output.line(line) }
                case .json:
                    Output.line(
                        .object([.init("revision", page.revision), .init("locks", .array(locks.map { JSON($0) }))]))
                }
            }
        }
    }

    /// `berth locks show`.
    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", abstract: "Show who holds a lock and who waits, in order.")

        @Argument(help: "The lock.", completion: .lockNames)
        var name: String

        @OptionGroup var connection: Connection

        func run() async throws {
            try await connection.run { client in
                let view = try await client.locks.inspect(name)
                switch connection.writeOut {
                case .simple: for line in LockText.show(view, at: TimeOfDay.now) { Output.line(line) }
                case .json: Output.line(JSON(view))
                }
            }
        }
    }
}

/// The time of day, for people to read.
enum TimeOfDay {
    /// Milliseconds since 1970.
    static var now: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }

    /// `14:05:09`, local time.
    static func clock(_ milliseconds: Int64) -> String {
        var seconds = time_t(milliseconds / 1000)
        var parts = tm()
        localtime_r(&seconds, &parts)
        return [parts.tm_hour, parts.tm_min, parts.tm_sec].map { $0 < 10 ? "0\($0)" : "\($0)" }.joined(separator: ":")
    }
}

extension CompletionKind {
    /// Names of locks there are, as far as a server answers quickly.
    static var lockNames: CompletionKind {
        .custom { _, _, prefix in
            do {
                var configuration = try Connection.parse([]).configuration()
                configuration.requestTimeout = .seconds(1)
                let names = try await BerthClient.with(configuration) { client in
                    try await client.locks.list(prefix: Bytes(prefix), limit: 200).locks.map(\.name.description)
                }
                return names
            } catch {
                return []  // A completion that fails offers nothing.
            }
        }
    }
}
