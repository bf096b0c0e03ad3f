import ArgumentParser
import Berth
import CommandText

/// `berth txn`.
struct TxnCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "txn", abstract: "Do several things at one revision, or others when a comparison fails.",
        discussion: """
            Reads a script from a file or standard input, one thing a line:

              # comparisons: value, version, create, mod, lease with = != < >; exists; missing
              create order:123/1f = 42
              value stock > "10"
              then
                put order:123 'paid at noon' --lease=1f
                get stock --prefix --limit 5
              else
                get order:123

            Double quotes know \\n \\t \\r \\" \\\\ and \\xNN, single quotes nothing. put takes --lease, --prev-kv and \
            --ignore-lease; get --prefix, --from-key, --limit, --rev, --keys-only and --count-only; del --prefix, \
            --from-key and --prev-kv. Without 'then' and 'else' etcdctl's form is read: comparisons such as \
            create("k") = "42", an empty line, what to do, an empty line, what to do else.

            Exit status 0 when all comparisons held, 1 when not; 121 and 123 as with berth put.
            """)

    @Argument(help: "The script's file; - or nothing reads standard input.", completion: .file())
    var file = "-"

    @OptionGroup var handle: LockHandle
    @OptionGroup var connection: Connection

    func run() async throws {
        try await connection.run { client in
            let text = String(
                decoding: try file == "-" ? StandardInput.bytes() : StandardInput.bytes(of: file), as: UTF8.self)
            let txn = try TxnScript.parse(text)
            let lock = try handle.lock(client)
            let outcome = if let lock { try await lock.txn(txn) } else { try await client.kv.txn(txn) }
            switch connection.writeOut {
            case .simple: write(outcome)
            case .json: Output.line(JSON(outcome))
            }
            if !outcome.succeeded { throw ExitCode(1) }
        }
    }

    private func write(_ outcome: TxnOutcome) {
        Output.line(outcome.succeeded ? "SUCCESS" : "FAILURE")
        for result in outcome.results {
            Output.line("")
            switch result {
            case .get(let page): for pair in page.values { KeyValueText.write(pair, .both) }
            case .put(let put):
                Output.line("OK")
                if let previous = put.previous { KeyValueText.write(previous, .both) }
            case .delete(let delete):
                Output.line("\(delete.deleted)")
                for pair in delete.previous { KeyValueText.write(pair, .both) }
            case .txn(let inner): write(inner)
            }
        }
    }
}
