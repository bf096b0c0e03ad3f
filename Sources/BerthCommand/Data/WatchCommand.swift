import ArgumentParser
import Berth
import CommandText

/// `berth watch`.
struct WatchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch", abstract: "Tell what happens to a key or a range of keys, each change once.")

    @OptionGroup var keys: RangeArguments
    @Option(name: .customLong("rev"), help: ArgumentHelp("Begin with this revision.", valueName: "revision"))
    var revision: Int64?
    @Flag(help: "Tell what each key was before.") var prevKv = false
    @OptionGroup var connection: Connection

    func run() async throws {
        try await connection.run { client in
            let options = WatchOptions(previous: prevKv)
            for try await batch in client.watch(keys.range, from: revision, options: options) {
                for event in batch.events {
                    switch connection.writeOut {
                    case .simple: write(event)
                    case .json: Output.line(JSON(event))
                    }
                }
            }
        }
    }

    private func write(_ event: WatchEvent) {
        Output.line(event.kind == .put ? "PUT" : "DELETE")
        if let previous = event.previous { KeyValueText.write(previous, .both) }
        KeyValueText.write(event.current, event.kind == .put ? .both : .key)
    }
}
