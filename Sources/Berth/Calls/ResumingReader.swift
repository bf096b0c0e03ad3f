import GRPCTransport

/// What is said on a stream that can be taken up again where it broke. Pure: bytes in, bytes and elements out; holds
/// the position to go on from.
package protocol StreamDialect: Sendable {
    /// What readers get.
    associatedtype Element: Sendable

    /// The method.
    var path: String { get }
    /// The caller's half of the stream stays open.
    var staysOpen: Bool { get }

    /// The first message of a stream that goes on from the present position.
    mutating func request() throws(BerthError) -> [UInt8]
    /// Takes a message in.
    ///
    /// - Throws: what ends the reading for good; an error about the token or permissions is first met with a new token.
    mutating func take(_ message: [UInt8]) throws(BerthError) -> StreamStep<Element>
}

/// What a message of a stream gave.
package enum StreamStep<Element: Sendable>: Sendable {
    case element(Element)
    case nothing
    /// The server ended this stream alone; another may do.
    case reopen
}

/// Reads a stream over broken connections and restarted servers. What comes in is held back by flow control, not in a
/// growing queue.
struct ResumingReader<Dialect: StreamDialect> {
    private let caller: Caller
    private var dialect: Dialect
    private var patience: Patience
    private var open: Opened?
    /// A stream stood once: from then on the reader waits for servers as long as it takes.
    private var hasStood = false
    private var hasRenewed = false
    private var isOver = false

    init(_ caller: Caller, _ dialect: Dialect) {
        self.caller = caller
        self.dialect = dialect
        patience = Self.patience(caller)
    }

    private static func patience(_ caller: Caller) -> Patience {
        Patience(limit: caller.configuration.requestTimeout, deadline: nil)
    }

    /// Gives the call up when the last iterator lets go of it.
    private final class Opened: Sendable {
        let call: Caller.OpenStream
        init(_ call: Caller.OpenStream) { self.call = call }
        deinit { call.stream.cancel() }

        func nextMessage() async -> Result<[UInt8]?, GRPCStatus> {
            do throws(GRPCStatus) { return .success(try await call.stream.next()) } catch { return .failure(error) }
        }
    }

    /// The next element; nil once it threw.
    mutating func next() async throws(BerthError) -> Dialect.Element? {
        guard !isOver else { return nil }
        do throws(BerthError) {
            return try await read()
        } catch {
            isOver = true
            open = nil
            throw error
        }
    }

    private mutating func read() async throws(BerthError) -> Dialect.Element {
        while true {
            let start = ContinuousClock.now
            let open = try await opened()
            let end: GRPCStatus
            switch await open.nextMessage() {
            case .success(let message?):
                if let element = try take(message, from: open.call) { return element }
                continue
            case .success(nil): end = GRPCStatus(.unavailable, "the server ended the stream")
            case .failure(let status): end = status
            }
            self.open = nil
            try caller.judge(end, of: open.call, path: dialect.path)
            guard let pause = patience.failed(start: start, now: .now) else {
                guard hasStood else { throw .unreachable(end.message) }
                patience = Self.patience(caller)
                continue
            }
            try await caller.rest(pause)
        }
    }

    private mutating func opened() async throws(BerthError) -> Opened {
        try caller.checkOpen()
        if let open { return open }
        let fresh = Opened(try await caller.open(dialect.path))
        fresh.call.stream.post(try dialect.request())
        if !dialect.staysOpen { fresh.call.stream.finishSending() }
        open = fresh
        return fresh
    }

    private mutating func take(
        _ message: [UInt8], from call: Caller.OpenStream
    ) throws(BerthError) -> Dialect.Element? {
        do throws(BerthError) {
            switch try dialect.take(message) {
            case .element(let element):
                stands()
                return element
            case .nothing: stands()
            case .reopen: open = nil
            }
            return nil
        } catch {
            if try caller.renewsToken(after: error, of: call) || mayRenew(error, call) {
                hasRenewed = true
                open = nil
                return nil
            }
            throw error
        }
    }

    private mutating func stands() {
        hasStood = true
        hasRenewed = false
        patience.succeeded()
    }

    /// Old servers say "permission denied" to a watch with a token they do not know.
    private func mayRenew(_ error: BerthError, _ call: Caller.OpenStream) -> Bool {
        guard case .permissionDenied = error, !hasRenewed else { return false }
        return caller.forgetToken(of: call)
    }
}
