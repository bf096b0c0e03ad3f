import GRPCTransport
import NIOCore
import ProtobufWire

/// One call that came as JSON: reads the request's messages out of the body, hands them to the method's handler, and
/// writes its answers.
///
/// Holds of the request one message as JSON, which the gateway bounds; of the answers nothing, as each is written when it
/// is made and `hasRoom` says when to stop.
///
/// Isolation: its exchange's event loop.
final class GatewayCall: CallCarrier {
    let exchange: HTTPExchange
    private let entry: Gateway.Entry
    private let method: ServerMethod
    private let gateway: Gateway
    private let metadata: MetadataBlock
    private let deadline: NIODeadline?
    /// The call, once it has begun: with the first message, or with the end of the body.
    private var call: ServerCall?
    private var body: [UInt8] = []
    private var splitter: JSONSplitter
    private var isBodyWhole = false
    /// Nothing more is read: the body's end was passed on, or something in it was not JSON.
    private var hasEndedInput = false
    private var isReadingMessages = false
    private var hasAnswered = false
    private var isOver = false
    private var timer: Scheduled<Void>?

    private static let headers: [(name: String, value: String)] = [
        (name: "Content-Type", value: "application/json"),
        (name: "Grpc-Metadata-Content-Type", value: "application/grpc"),
    ]

    init(
        _ exchange: HTTPExchange, _ entry: Gateway.Entry, _ method: ServerMethod, _ gateway: Gateway,
        metadata: MetadataBlock, deadline: NIODeadline?
    ) {
        self.exchange = exchange
        self.entry = entry
        self.method = method
        self.gateway = gateway
        self.metadata = metadata
        self.deadline = deadline
        splitter = JSONSplitter(limit: gateway.maxTextBytes)
    }

    func start() {
        // Of an exchange that is over nobody would hear again: its timer would hold all this until it fires.
        guard exchange.isActive else { return }
        exchange.onCancel = { self.ended($0) }
        exchange.onRoom = { self.call?.carrierHasRoom() }
        if entry.types.streamsRequests || exchange.head.wantsWebSocket {
            exchange.hasOpenEndedBody = true
            exchange.onBody = { self.receivedPiece($0) }
            exchange.onEnd = {
                self.isBodyWhole = true
                self.readMessages()
            }
        } else {
            exchange.onBody = { self.collect($0) }
            exchange.onEnd = { self.beginOne(self.body) }
        }
        guard let deadline else { return }
        timer = exchange.eventLoop.assumeIsolated().scheduleTask(deadline: deadline) { self.deadlinePassed() }
    }

    // MARK: - One request message

    private func collect(_ bytes: UnsafeRawBufferPointer) {
        guard body.count + bytes.count <= gateway.maxTextBytes else {
            return conclude(
                GRPCStatus(
                    .resourceExhausted,
                    "the request's JSON is longer than \(gateway.maxTextBytes) bytes; its message may have "
                        + "\(gateway.maxMessageBytes)"))
        }
        body.append(contentsOf: bytes)
        if !exchange.holds(body.count) { conclude(Self.tooMuchHeld) }
    }

    private func beginOne(_ text: [UInt8]) {
        body = []
        hasEndedInput = true
        guard let message = decoded(text) else { return }
        // A deadline that short may pass before its timer is looked at.
        if let deadline, deadline <= .now() { return deadlinePassed() }
        guard let call = begin() else { return }
        if entry.types.streamsResponses {
            call.beginStreaming()
            call.receive(message)
            call.receiveEnd()
        } else {
            message.withUnsafeBytes { call.begin(unary: $0) }
        }
    }

    private func decoded(_ text: [UInt8]) -> [UInt8]? {
        do throws(JSONFault) {
            let message = try decode(text)
            guard message.count <= gateway.maxMessageBytes else {
                conclude(
                    GRPCStatus(
                        .resourceExhausted,
                        "grpc: received message larger than max (\(message.count) vs. \(gateway.maxMessageBytes))"))
                return nil
            }
            return message
        } catch {
            refuse(GRPCStatus(.invalidArgument, error.description))
            return nil
        }
    }

    private func decode(_ text: [UInt8]) throws(JSONFault) -> [UInt8] {
        let type = entry.types.request
        let schema = gateway.schema
        return try text.withBorrowedBytes { text throws(JSONFault) in
            try JSONCodec.decode(text, type: type, schema: schema)
        }
    }

    /// Ends the exchange before there is a call: also a stream's answer is a whole one then.
    private func refuse(_ status: GRPCStatus) {
        guard !isOver else { return }
        isOver = true
        timer?.cancel()
        exchange.answer(Self.failure(status))
    }

    /// Makes the call; nil when it is refused.
    private func begin() -> ServerCall? {
        let call = ServerCall(method: method, carrier: self, metadata: metadata, deadline: deadline)
        if call.requiresLeader, let refusal = gateway.leaderCheck?() {
            conclude(refusal)
            return nil
        }
        self.call = call
        return call
    }

    // MARK: - Any number of request messages

    private func receivedPiece(_ bytes: UnsafeRawBufferPointer) {
        guard !hasEndedInput else { return }
        splitter.append(bytes)
        readMessages()
    }

    /// Hands on what has arrived whole, unless the handler pauses.
    private func readMessages() {
        guard !isReadingMessages else { return }
        isReadingMessages = true
        defer { isReadingMessages = false }
        while !isOver, !hasEndedInput, call?.isReadingPaused != true {
            let text: [UInt8]?
            do throws(JSONFault) {
                text = try splitter.next()
                if text == nil, isBodyWhole, !splitter.isBetweenValues { throw .unexpectedEnd }
            } catch {
                badMessage(error)
                break
            }
            guard let text else {
                if isBodyWhole { endInput() }
                break
            }
            receivedMessage(text)
        }
        guard !isOver else { return }
        guard exchange.holds(splitter.heldBytes) else { return conclude(Self.tooMuchHeld) }
        exchange.isReadingPaused = call?.isReadingPaused == true
    }

    private func receivedMessage(_ text: [UInt8]) {
        if !entry.types.streamsRequests {
            // A WebSocket's one message; what follows it is not looked at.
            return beginOne(text)
        }
        let message: [UInt8]
        do throws(JSONFault) {
            message = try decode(text)
        } catch {
            return badMessage(error)
        }
        guard message.count <= gateway.maxMessageBytes else {
            return badMessage(JSONFault("a message is longer than \(gateway.maxMessageBytes) bytes"))
        }
        if let call { return call.receive(message) }
        guard let call = begin() else { return }
        call.beginStreaming()
        call.receive(message)
    }

    /// The first message decides whether there is a call at all. A later one that cannot be read ends the requests, as in
    /// etcd: the answers go on.
    private func badMessage(_ fault: JSONFault) {
        guard call == nil else { return endInput() }
        hasEndedInput = true
        refuse(GRPCStatus(entry.types.streamsRequests ? .unknown : .invalidArgument, fault.description))
    }

    private func endInput() {
        guard !hasEndedInput else { return }
        hasEndedInput = true
        if call == nil {
            guard entry.types.streamsRequests else { return beginOne([]) }
            begin()?.beginStreaming()
        }
        call?.receiveEnd()
    }

    // MARK: - CallCarrier

    func send(_ message: [UInt8]) {
        guard !isOver else { return }
        var writer = JSONWriter(gateway.schema, capacity: message.count + message.count / 2 + 256)
        if entry.types.streamsResponses { writer.literal("{\"result\":") }
        do throws(WireError) {
            try message.withWireBytes { bytes throws(WireError) in
                try writer.message(entry.types.response, bytes)
            }
        } catch {
            call?.carrierEnded(.reset)
            return conclude(GRPCStatus(.internal, "berth: the answer is malformed: \(error)"))
        }
        guard entry.types.streamsResponses else {
            // The status comes next, and is success: a unary handler sends nothing otherwise.
            body = writer.output
            return
        }
        writer.literal("}\n")
        if !hasAnswered {
            hasAnswered = true
            exchange.start(status: 200, headers: Self.headers)
        }
        exchange.write(writer.output)
    }

    func finish(_ status: GRPCStatus) { conclude(status) }

    /// Ends the exchange as the call ended.
    private func conclude(_ status: GRPCStatus) {
        guard !isOver else { return }
        isOver = true
        timer?.cancel()
        let call = self.call
        self.call = nil
        // Its handler must not go on for nobody; a call that came to its end by itself hears nothing of it.
        call?.carrierEnded(.reset)
        if entry.types.streamsResponses {
            if !hasAnswered {
                exchange.start(status: StatusText.httpStatus(status.code), headers: [Self.headers[0]])
            }
            if status.code != .ok { exchange.write(StatusText.line(status)) }
            exchange.finish()
        } else if status.code == .ok {
            exchange.answer(HTTPResponse(status: 200, headers: Self.headers, body: body))
        } else {
            exchange.answer(Self.failure(status))
        }
    }

    var hasRoom: Bool { exchange.hasRoom }

    var queuedBytes: Int { body.count }

    func readingResumed() {
        guard entry.types.streamsRequests else { return }
        readMessages()
    }

    // MARK: - Ends from outside

    private func ended(_ reason: CancelReason) {
        guard !isOver else { return }
        isOver = true
        timer?.cancel()
        let call = self.call
        self.call = nil
        call?.carrierEnded(reason)
    }

    private func deadlinePassed() {
        guard !isOver else { return }
        let call = self.call
        call?.carrierEnded(.deadlineExceeded)
        conclude(GRPCStatus(.deadlineExceeded, "context deadline exceeded"))
    }

    /// The whole answer of a call that failed before there was anything else to send.
    static func failure(_ status: GRPCStatus) -> HTTPResponse {
        HTTPResponse(
            status: StatusText.httpStatus(status.code), headers: [headers[0]], body: StatusText.body(status))
    }

    private static let tooMuchHeld = GRPCStatus(
        .resourceExhausted, "the connection's calls hold too many request bytes")
}

extension [UInt8] {
    /// `withUnsafeBytes` with a typed error.
    fileprivate func withWireBytes(
        _ body: (UnsafeRawBufferPointer) throws(WireError) -> Void
    ) throws(WireError) {
        let failure = withUnsafeBytes { bytes -> WireError? in
            do throws(WireError) {
                try body(bytes)
                return nil
            } catch {
                return error
            }
        }
        if let failure { throw failure }
    }
}
