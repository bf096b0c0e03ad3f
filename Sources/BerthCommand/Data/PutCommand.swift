import ArgumentParser
import Berth
import CommandText

/// A lease on the command line: hexadecimal, as everything prints it.
struct LeaseArgument: ExpressibleByArgument {
    let id: LeaseID
    init?(argument: String) {
        guard let id = LeaseID(hex: argument), id.value != 0 else { return nil }
        self.id = id
    }
}

/// `berth put`.
struct PutCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "put", abstract: "Write a value.",
        discussion: """
            With --with-lock the value is written only while the lock is held, in one transaction with the proof. \
            Exit status 121: a lock that somebody else holds guards the key; 123: the lock was lost. Either way nothing \
            was written.
            """)

    @Argument var key: String
    @Argument(help: "The value; - reads standard input.") var value: String

    @Option(help: ArgumentHelp("The key ends with this lease.", valueName: "hex"))
    var lease: LeaseArgument?

    @Flag(help: "Tell what the key was before.")
    var prevKv = false

    @OptionGroup var handle: LockHandle
    @OptionGroup var connection: Connection

    func run() async throws {
        try await connection.run { client in
            let bytes = value == "-" ? Bytes(StandardInput.bytes()) : Bytes(value)
            let put = Put(Bytes(key), bytes, lease: lease?.id, previous: prevKv)
            let result: PutResult
            if let lock = try handle.lock(client) {
                var txn = Txn()
                txn.then = [.put(put)]
                guard case .put(let done)? = try await lock.txn(txn).results.first else {
                    throw Failure("the server's answer lacks the put's result")
                }
                result = done
            } else {
                result = try await client.kv.put(put.key, put.value, lease: put.lease, previous: prevKv)
            }
            switch connection.writeOut {
            case .simple:
                Output.line("OK")
                if let previous = result.previous { KeyValueText.write(previous, .both) }
            case .json: Output.line(JSON(result))
            }
        }
    }
}

/// Keys and values on standard output, byte for byte, as etcdctl writes them.
enum KeyValueText {
    enum Part {
        case both
        case key
        case value
    }

    static func write(_ pair: KeyValue, _ part: Part) {
        if part != .value { Output.line(pair.key) }
        if part != .key { Output.line(pair.value) }
    }
}
