import ArgumentParser
import Berth
import CommandText
import Supervision

/// `berth leader`: who leads an election.
struct LeaderCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "leader", abstract: "Show who leads an election.",
        discussion: "Exit status 1 when nobody leads. With --watch every leader and every value is told, none left out."
    )

    @Argument(help: "The election.", completion: .lockNames)
    var name: String

    @Flag(help: "Go on with every change.")
    var watch = false

    @OptionGroup var connection: Connection

    func run() async throws {
        try await connection.run { client in
            guard watch else {
                let leader = try await client.elections.leader(name)
                tell(leader, revision: nil)
                if leader == nil { throw ExitCode(1) }
                return
            }
            for try await change in client.elections.observe(name) { tell(change.leader, revision: change.revision) }
        }
    }

    private func tell(_ leader: Leader?, revision: Int64?) {
        switch connection.writeOut {
        case .simple:
            guard let leader else { return Output.line("nobody leads \(name)") }
            let owner = leader.owner.isEmpty ? "" : "  \(LockText.printable(leader.owner))"
            Output.line("\(leader.value)  token \(leader.token)\(owner)")
        case .json:
            Output.line(
                .object([
                    .init("name", name), .init("revision", revision.map { JSON.number($0) } ?? .null),
                    .init("leader", leader.map { JSON($0) } ?? .null),
                ]))
        }
    }
}
