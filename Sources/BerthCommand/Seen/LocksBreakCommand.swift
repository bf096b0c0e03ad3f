import ArgumentParser
import Berth
import CommandText
import Supervision

#if canImport(Glibc)
    import Glibc
#endif

/// `berth locks break`: takes a place away from whoever has it.
struct LocksBreakCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "break", abstract: "Take a place in line away; who did it and why are recorded.",
        discussion: """
            Exit status 1 when there is no such place. Without a token the head of the line is taken. The next in line holds at once; fenced writes of the old \
            holder fail from then on, but what it does elsewhere goes on: stop it as well.
            """)

    @Argument(help: "The lock.", completion: .lockNames)
    var name: String

    @Option(help: ArgumentHelp("The place with this token, and nobody else's.", valueName: "number"))
    var token: Int64?

    @Option(help: ArgumentHelp("Why.", valueName: "text"))
    var reason: String

    @Option(help: ArgumentHelp("Who does it (default: user@host).", valueName: "who"))
    var by: String?

    @Flag(name: .shortAndLong, help: "Do not ask first.")
    var yes = false

    @OptionGroup var connection: Connection

    func validate() throws {
        if reason.allSatisfy(\.isWhitespace) { throw ValidationError("--reason is empty; say why") }
    }

    func run() async throws {
        try await connection.run { client in
            var token = token
            if !yes, isatty(STDIN_FILENO) == 1 {
                let view = try await client.locks.inspect(name)
                let place = view.places.first { token == nil || $0.token == token }
                guard let place else { throw nothing(token) }
                // What was shown is what is broken, whoever comes meanwhile.
                token = place.token
                let left = place.remaining > .zero ? ", \(DurationText.short(place.remaining)) left" : ""
                let state = place.holds ? "holds" : "waits for"
                guard
                    ask("\(LockText.who(place)) \(state) \(name) with token \(place.token)\(left). Break it? [y/N] ")
                else { throw Failure("not broken") }
            }
            let place = try await take(client, token)
            switch connection.writeOut {
            case .simple: Output.line("broken: \(name), token \(place.token), of \(LockText.who(place))")
            case .json: Output.line(.object([.init("name", name), .init("broken", JSON(place))]))
            }
        }
    }

    private func take(_ client: BerthClient, _ token: Int64?) async throws -> Place {
        do {
            return try await client.locks.break(name, token: token, by: by ?? Self.whoAmI, reason: reason)
        } catch {
            // NOT_FOUND. Not as a pattern of the catch: Swift 6.3.1 crashes on that.
            guard case .server(let code, _) = error, code == 5 else { throw error }
            throw nothing(token)
        }
    }

    private func nothing(_ token: Int64?) -> Failure {
        Failure(token.map { "\(name) has no place with token \($0)" } ?? "nobody holds \(name)", status: 1)
    }

    private func ask(_ question: String) -> Bool {
        print(question, terminator: "")
        fflush(nil)
        return ["y", "yes"].contains(readLine()?.lowercased())
    }

    /// `user@host`, as the system knows them.
    private static var whoAmI: String {
        var host = [CChar](repeating: 0, count: 256)
        gethostname(&host, host.count - 1)
        let user = getpwuid(getuid()).map { String(cString: $0.pointee.pw_name) } ?? "\(getuid())"
        return user + "@" + String(decoding: host.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
