import ArgumentParser
import Berth
import CommandText

/// `berth status`: what each server says of itself.
struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show version, revision, size, leader and term of each endpoint.",
        discussion: "Every endpoint is asked. The exit status is that of the last one that did not answer.")

    @OptionGroup var connection: Connection

    func run() async throws {
        let all: BerthConfiguration
        do { all = try connection.configuration() } catch { throw error.told() }
        var rows = [["ENDPOINT", "VERSION", "REVISION", "DB SIZE", "LEADER", "TERM", "ERRORS"]]
        var failure: Failure?
        for endpoint in all.endpoints {
            var one = all
            one.endpoints = [endpoint]
            do {
                let status = try await BerthClient.with(one) { try await $0.status() }
                switch connection.writeOut {
                case .simple: rows.append(Self.row(status, endpoint))
                case .json: Output.line(JSON(status, endpoint: endpoint))
                }
            } catch {
                failure = Failure(error)
                Output.complain(failure?.line ?? "\(error)")
            }
        }
        if rows.count > 1 { for line in LockText.columns(rows) { Output.line(line) } }
        if let failure { throw ExitCode(failure.status) }
    }

    private static func row(_ status: MemberStatus, _ endpoint: String) -> [String] {
        let leader =
            status.leader == 0 ? "none" : status.leader == status.memberID ? "itself" : String(status.leader, radix: 16)
        return [
            endpoint, status.version, "\(status.revision)", size(status.sizeInBytes), leader, "\(status.raftTerm)",
            status.errors.isEmpty ? "-" : status.errors.joined(separator: "; "),
        ]
    }

    private static func size(_ bytes: Int64) -> String {
        switch bytes {
        case ..<10_000: "\(bytes) B"
        case ..<10_000_000: "\(bytes / 1024) KiB"
        default: "\(bytes / 1024 / 1024) MiB"
        }
    }
}
