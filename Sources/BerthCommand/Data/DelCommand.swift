import ArgumentParser
import Berth
import CommandText

/// `berth del`.
struct DelCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "del", abstract: "Delete a key or a range of keys, and print how many.",
        discussion: "Guarded keys and --with-lock are as with berth put.")

    @OptionGroup var keys: RangeArguments
    @Flag(help: "Tell what was deleted.") var prevKv = false
    @OptionGroup var handle: LockHandle
    @OptionGroup var connection: Connection

    func run() async throws {
        try await connection.run { client in
            let result: DeleteResult
            if let lock = try handle.lock(client) {
                var txn = Txn()
                txn.then = [.delete(Delete(keys.range, previous: prevKv))]
                guard case .delete(let done)? = try await lock.txn(txn).results.first else {
                    throw Failure("the server's answer lacks the delete's result")
                }
                result = done
            } else {
                result = try await client.kv.delete(keys.range, previous: prevKv)
            }
            switch connection.writeOut {
            case .simple:
                Output.line("\(result.deleted)")
                for pair in result.previous { KeyValueText.write(pair, .both) }
            case .json: Output.line(JSON(result))
            }
        }
    }
}
