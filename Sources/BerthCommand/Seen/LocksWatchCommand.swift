import ArgumentParser
import Berth
import CommandText
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// `berth locks watch`: a lock's line as it moves.
struct LocksWatchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch", abstract: "Follow what happens in a lock's line.",
        discussion: """
            On a terminal the line is redrawn four times a second: who holds, who waits, how much time is left. \
            Otherwise, and with -w json, there is one line for each event, none left out.
            """)

    @Argument(help: "The lock.", completion: .lockNames)
    var name: String

    @Flag(help: "Follow all locks whose names begin so, one line for each event.")
    var prefix = false

    @Option(name: .customLong("rev"), help: ArgumentHelp("Begin with this revision.", valueName: "revision"))
    var revision: Int64?

    @Flag(help: "One line for each event, on a terminal too.")
    var events = false

    @OptionGroup var connection: Connection

    private static let frame = Duration.milliseconds(250)
    private static let eventsShown = 5

    func run() async throws {
        try await connection.run { client in
            let isLive = Output.isTerminal && connection.writeOut == .simple && !events && !prefix && revision == nil
            if isLive { try await live(client) } else { try await follow(client) }
        }
    }

    private func follow(_ client: BerthClient) async throws {
        for try await batch in client.locks.observe(name, prefix: prefix, from: revision) {
            for event in batch.events {
                switch connection.writeOut {
                case .simple: Output.line(line(event))
                case .json: Output.line(JSON(event))
                }
            }
        }
    }

    private func line(_ event: LockEvent) -> String {
        "\(TimeOfDay.clock(event.at ?? TimeOfDay.now))  \(LockText.event(event, withName: prefix))"
    }

    // MARK: The live view

    private func live(_ client: BerthClient) async throws {
        // One look first: what cannot work at all should end the command, not fill the screen.
        var view = try await client.locks.inspect(name)
        var seen = ContinuousClock.now
        let happened = Mutex<[String]>([])
        let start = view.revision + 1
        let reader = Task {
            for try await batch in client.locks.observe(name, from: start) {
                let lines = batch.events.map { line($0) }
                happened.withLock { $0 = ($0 + lines).suffix(Self.eventsShown) }
            }
        }
        defer { reader.cancel() }
        var screen = Screen()
        var trouble: [String] = []
        while true {
            let events = happened.withLock { $0 }
            let line = LockText.show(view, at: TimeOfDay.now, age: .now - seen)
            screen.draw(line, below: (events.isEmpty ? [] : [""] + events) + trouble)
            try await Task.sleep(for: Self.frame)
            do throws(BerthError) {
                view = try await client.locks.inspect(name)
                seen = .now
                trouble = []
            } catch {
                trouble = ["! \(error)"]
            }
        }
    }
}
