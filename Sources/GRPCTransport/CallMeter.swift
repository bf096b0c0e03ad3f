public import Measures
import Synchronization

/// Counts calls, messages and connections of a server for whoever shows them. One meter may serve several listeners.
///
/// What comes with every call is counted in rows that belong to an event loop (`LoopMeter`) and added up when it is read;
/// what is rare has counters that all threads share.
public final class CallMeter: Sendable {
    /// How a method's messages flow, in gRPC's words.
    public enum MethodType: String, Sendable {
        /// One message each way.
        case unary
        /// One message to the server, any number back.
        case serverStream = "server_stream"
        /// Any number each way.
        case bidirectional = "bidi_stream"
    }

    /// One method of the table.
    public struct Method: Sendable {
        /// The service with its package.
        public let service: String
        /// The method's own name.
        public let name: String
        /// How its messages flow.
        public let type: MethodType
    }

    /// A bound of the transport that something ran into.
    public enum Bound: String, Sendable, CaseIterable {
        /// `maxConnections`: the connection was closed.
        case connections
        /// `handshakeTimeout`: the connection was closed.
        case handshake = "handshake_timeout"
        /// `rapidResets`: the connection was ended.
        case resets = "too_many_resets"
        /// `idleFrames`: the connection was ended.
        case frames = "too_many_frames"
        /// Pings closer than `minPingInterval`: the connection was ended.
        case pings = "too_many_pings"
        /// Header frames without an end: the connection was ended.
        case continuations = "too_many_continuations"
        /// Answers the client does not read: the connection was ended.
        case queuedFrames = "too_many_queued_frames"
        /// `maxRequestBytes`: the call failed.
        case messageBytes = "message_bytes"
        /// `connectionRequestBuffer`: the call failed.
        case heldBytes = "request_buffer"
        /// `maxHeaderListBytes`: the call failed.
        case headerBytes = "header_bytes"
    }

    /// Upper bounds of the histograms of call times, in seconds: those of Prometheus' libraries.
    public static let timeBounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

    /// The methods, by service and name.
    public let methods: [Method]
    /// Whether calls are timed.
    public let timesCalls: Bool
    /// Connections accepted, and those of them that ended.
    public let connectionsOpened = Counter()
    /// Connections accepted that ended.
    public let connectionsClosed = Counter()
    private let refusals: [Counter] = Bound.allCases.map { _ in Counter() }
    private let positions: [String: Int]
    private let loops = Mutex<[LoopMeter]>([])

    /// - Parameter timesCalls: costs two readings of the clock a call.
    public init(_ services: ServiceTable, timesCalls: Bool = false) {
        var found: [(path: String, method: Method)] = []
        for (path, kind) in services.methods {
            let parts = path.split(separator: "/")
            guard parts.count == 2 else { continue }
            found.append(
                (path, Method(service: String(parts[0]), name: String(parts[1]), type: kind.type)))
        }
        found.sort { ($0.method.service, $0.method.name) < ($1.method.service, $1.method.name) }
        methods = found.map(\.method)
        positions = Dictionary(uniqueKeysWithValues: found.enumerated().map { ($1.path, $0) })
        self.timesCalls = timesCalls
    }

    /// Where a method's numbers stand; nil for one that was not in the table.
    func position(of path: String) -> Int? { positions[path] }

    /// A row of numbers for an event loop.
    func makeLoop() -> LoopMeter {
        let meter = LoopMeter(methods: methods.count, timesCalls: timesCalls)
        loops.withLock { $0.append(meter) }
        return meter
    }

    /// Something ran into a bound.
    func refused(by bound: Bound) {
        guard let position = Bound.allCases.firstIndex(of: bound) else { return }
        refusals[position].add()
    }

    /// How often something ran into a bound.
    public func refusals(by bound: Bound) -> Int {
        Bound.allCases.firstIndex(of: bound).map { refusals[$0].value } ?? 0
    }

    /// All loops' numbers together.
    public var reading: CallReading {
        let rows = loops.withLock { $0 }
        var numbers = [Int](repeating: 0, count: LoopMeter.count(methods: methods.count, timesCalls: timesCalls))
        for row in rows {
            for position in numbers.indices { numbers[position] += row.tallies[position] }
        }
        return CallReading(numbers: numbers, methods: methods.count, timesCalls: timesCalls)
    }
}

/// One event loop's numbers: a stretch for each method, then those of the loop as a whole.
///
/// Isolation: written on its event loop.
final class LoopMeter: Sendable {
    /// Numbers of one method: calls started, messages received, messages sent, ends by status, and times if they are taken.
    enum Place {
        static let started = 0
        static let received = 1
        static let sent = 2
        static let ends = 3
        static let times = 3 + GRPCCode.allCases.count
    }

    /// Numbers of the whole loop, behind those of the methods.
    enum Whole {
        static let receivedBytes = 0
        static let sentBytes = 1
        static let unaryVersions = 2
        static let streamVersions = 2 + ClientVersion.count
        static let count = 2 + 2 * ClientVersion.count
    }

    let tallies: TallyRow
    let timesCalls: Bool
    private let stride: Int
    private let whole: Int

    static func stride(timesCalls: Bool) -> Int {
        Place.times + (timesCalls ? CallMeter.timeBounds.count + 2 : 0)
    }

    static func count(methods: Int, timesCalls: Bool) -> Int {
        methods * stride(timesCalls: timesCalls) + Whole.count
    }

    init(methods: Int, timesCalls: Bool) {
        stride = Self.stride(timesCalls: timesCalls)
        whole = methods * stride
        self.timesCalls = timesCalls
        tallies = TallyRow(count: Self.count(methods: methods, timesCalls: timesCalls))
    }

    private static let timeLimits = CallMeter.timeBounds.map { Int(($0 * 1e9).rounded()) }

    /// A call of a method begins; gives the place of its numbers.
    func started(_ method: Int, isUnary: Bool, version: Int) -> Int {
        tallies.add(whole + (isUnary ? Whole.unaryVersions : Whole.streamVersions) + version)
        let start = method * stride
        tallies.add(start + Place.started)
        return start
    }

    func received(_ start: Int, bytes: Int) {
        tallies.add(start + Place.received)
        tallies.add(whole + Whole.receivedBytes, bytes)
    }

    func sent(_ start: Int, bytes: Int) {
        tallies.add(start + Place.sent)
        tallies.add(whole + Whole.sentBytes, bytes)
    }

    func ended(_ start: Int, _ code: GRPCCode) { tallies.add(start + Place.ends + code.rawValue) }

    func took(_ start: Int, nanoseconds: Int) {
        var position = 0
        while position < Self.timeLimits.count, nanoseconds > Self.timeLimits[position] { position += 1 }
        tallies.add(start + Place.times + position)
        tallies.add(start + Place.times + Self.timeLimits.count + 1, nanoseconds)
    }
}

/// What a `CallMeter` had counted at one moment.
public struct CallReading: Sendable {
    private let numbers: [Int]
    private let stride: Int
    private let whole: Int

    init(numbers: [Int], methods: Int, timesCalls: Bool) {
        self.numbers = numbers
        stride = LoopMeter.stride(timesCalls: timesCalls)
        whole = methods * stride
    }

    /// Calls of a method, by its place in the meter's list, that began.
    public func started(_ method: Int) -> Int { numbers[method * stride + LoopMeter.Place.started] }
    /// Request messages of a method.
    public func received(_ method: Int) -> Int { numbers[method * stride + LoopMeter.Place.received] }
    /// Response messages of a method.
    public func sent(_ method: Int) -> Int { numbers[method * stride + LoopMeter.Place.sent] }
    /// Calls of a method that ended with a status.
    public func ended(_ method: Int, _ code: GRPCCode) -> Int {
        numbers[method * stride + LoopMeter.Place.ends + code.rawValue]
    }

    /// Times of a method's calls; only where the meter takes them.
    public func times(_ method: Int) -> HistogramReading {
        let bounds = CallMeter.timeBounds
        let start = method * stride + LoopMeter.Place.times
        return HistogramReading(
            bounds: bounds, counts: Array(numbers[start...start + bounds.count]),
            sum: Double(numbers[start + bounds.count + 1]) / 1e9)
    }

    /// Bytes of request messages.
    public var receivedBytes: Int { numbers[whole + LoopMeter.Whole.receivedBytes] }
    /// Bytes of response messages.
    public var sentBytes: Int { numbers[whole + LoopMeter.Whole.sentBytes] }

    /// Calls by what the client said of its API version; those there were.
    public func versions(ofUnary isUnary: Bool) -> [(version: String, calls: Int)] {
        let start = whole + (isUnary ? LoopMeter.Whole.unaryVersions : LoopMeter.Whole.streamVersions)
        return (0..<ClientVersion.count).compactMap { number in
            numbers[start + number] > 0 ? (ClientVersion.name(number), numbers[start + number]) : nil
        }
    }

    /// Calls that are open.
    public var openCalls: Int {
        (0..<whole / stride).reduce(0) { open, method in
            open + started(method) - GRPCCode.allCases.reduce(0) { $0 + ended(method, $1) }
        }
    }
}

/// What a client says of itself in the header `client-api-version`, as a small number: whatever clients send, there are
/// no more than these.
enum ClientVersion {
    static let header = "client-api-version"
    /// No header.
    static let unknown = 0
    /// Anything that is not `3.0` to `3.15`.
    static let other = 1
    private static let first = 2
    private static let minors = 16
    static let count = first + minors

    static func name(_ number: Int) -> String {
        switch number {
        case unknown: "unknown"
        case other: "other"
        default: "3.\(number - first)"
        }
    }

    static func number(of value: UnsafeRawBufferPointer) -> Int {
        guard (3...4).contains(value.count), value[0] == UInt8(ascii: "3"), value[1] == UInt8(ascii: ".") else {
            return other
        }
        var minor = 0
        for byte in value[2...] {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return other }
            minor = minor * 10 + Int(byte - UInt8(ascii: "0"))
        }
        let isShortest = value.count == 3 || minor > 9
        return minor < minors && isShortest ? first + minor : other
    }
}

extension ServerMethod.Kind {
    var type: CallMeter.MethodType {
        switch self {
        case .unary: .unary
        case .streaming(let type, _): type
        }
    }
}
