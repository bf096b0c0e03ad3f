import Dispatch
import Supervision

#if canImport(Glibc)
    import Glibc
#endif

/// A `berth` process of the demonstration: its input is held open, its output is read line by line.
final class DemoProcess: Sendable {
    let process: ChildProcess
    private let input: Int32
    private let lines: AsyncStream<String>
    private let ends: AsyncStream<CommandEnd>

    /// Starts this very program with other arguments.
    init(_ arguments: [String], variables: [String: String] = [:], showsErrors: Bool = false) throws {
        let toChild = try Self.pipe()
        let fromChild = try Self.pipe()
        defer {
            close(toChild.read)
            close(fromChild.write)
        }
        process = try ChildProcess.start(
            ["berth"] + arguments, program: "/proc/self/exe", variables: variables,
            input: .descriptor(toChild.read), output: .descriptor(fromChild.write),
            errors: showsErrors ? .inherited : .descriptor(fromChild.write))
        input = toChild.write
        lines = Self.lines(of: fromChild.read)
        ends = Self.end(of: process)
    }

    deinit { close(input) }

    /// The next line of its output; nil at its end.
    func line() async -> String? { await lines.first { _ in true } }

    /// Its end, when it comes.
    func end() async -> CommandEnd? { await ends.first { _ in true } }

    /// Ends its input, which makes a holder release its lock.
    func closeInput() { shutdown(input, Int32(SHUT_WR)) }

    private static func pipe() throws(Failure) -> (read: Int32, write: Int32) {
        var ends: [Int32] = [-1, -1]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
            throw Failure("no more descriptors: \(String(cString: strerror(errno)))")
        }
        return (ends[0], ends[1])
    }

    private static func lines(of descriptor: Int32) -> AsyncStream<String> {
        let (stream, feed) = AsyncStream.makeStream(of: String.self)
        DispatchQueue(label: "output").async {
            var rest: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 4096)
            while true {
                let count = read(descriptor, &buffer, buffer.count)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { break }
                rest += buffer.prefix(count)
                var lines = rest.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
                rest = Array(lines.removeLast())
                for line in lines { feed.yield(String(decoding: line, as: UTF8.self)) }
            }
            close(descriptor)
            feed.finish()
        }
        return stream
    }

    private static func end(of process: ChildProcess) -> AsyncStream<CommandEnd> {
        let (stream, feed) = AsyncStream.makeStream(of: CommandEnd.self)
        DispatchQueue(label: "end").async {
            while true {
                guard case .ended(let end) = process.wait() else { continue }
                process.reap()
                feed.yield(end)
                return feed.finish()
            }
        }
        return stream
    }
}
