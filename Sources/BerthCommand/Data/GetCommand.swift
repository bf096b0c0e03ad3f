import ArgumentParser
import Berth
import CommandText

/// `berth get`.
struct GetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "get", abstract: "Read a key or a range of keys.",
        discussion: """
            Prints key and value in turn, each on a line. Exit status 1 when a single key does not exist. With \
            --with-lock the read fails with status 123 once the lock is lost.
            """)

    @OptionGroup var keys: RangeArguments

    @Option(help: ArgumentHelp("Most keys to read.", valueName: "count")) var limit: Int?
    @Option(name: .customLong("rev"), help: ArgumentHelp("As of this revision.", valueName: "revision"))
    var revision: Int64?
    @Flag(help: "Keys without values.") var keysOnly = false
    @Flag(help: "How many there are.") var countOnly = false
    @Flag(help: "Values without keys.") var valuesOnly = false

    @OptionGroup var handle: LockHandle
    @OptionGroup var connection: Connection

    func validate() throws {
        if [keysOnly, countOnly, valuesOnly].count(where: { $0 }) > 1 {
            throw ValidationError("--keys-only, --count-only and --values-only exclude each other")
        }
    }

    func run() async throws {
        try await connection.run { client in
            var get = Get(keys.range, limit: limit)
            get.revision = revision
            get.keysOnly = keysOnly
            get.countOnly = countOnly
            let lock = try handle.lock(client)
            let part: KeyValueText.Part = keysOnly ? .key : valuesOnly ? .value : .both
            if lock == nil, connection.writeOut == .simple, limit == nil, !countOnly, !keys.range.isSingleKey {
                // Any number of keys, page by page at one revision.
                for try await pair in client.kv.range(keys.range, revision: revision, keysOnly: keysOnly) {
                    KeyValueText.write(pair, part)
                }
                return
            }
            let page: RangePage
            if let lock {
                var txn = Txn()
                txn.then = [.get(get)]
                guard case .get(let found)? = try await lock.txn(txn).results.first else {
                    throw Failure("the server's answer lacks the read's result")
                }
                page = found
            } else {
                page = try await client.kv.page(get)
            }
            switch connection.writeOut {
            case .json: Output.line(JSON(page))
            case .simple where countOnly: Output.line("\(page.count)")
            case .simple: for pair in page.values { KeyValueText.write(pair, part) }
            }
            if keys.range.isSingleKey, page.count == 0 { throw ExitCode(1) }
        }
    }
}
