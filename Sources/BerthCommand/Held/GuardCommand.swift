import ArgumentParser
import Supervision

/// Started by `berth lock` and `berth elect` beside their command; nobody types this.
struct GuardCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "_guard", abstract: "Ends a command whose lease is not renewed.", shouldDisplay: false)

    @Argument var numbers: [String] = []

    /// This very program, also when its file has been replaced.
    static let program = GuardProgram(path: "/proc/self/exe", arguments: ["berth", "_guard"])

    func run() throws {
        guard CommandGuard.run(numbers) else { throw ValidationError("this command is not meant to be typed") }
    }
}
