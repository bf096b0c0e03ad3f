import CNghttp2
import DequeModule
import NIOCore

/// A stream of an HTTP/2 connection that carries a plain HTTP exchange instead of a gRPC call: JSON, mostly. The
/// stream's `ServerCall` stands for the stream then, and no handler of a method ever sees it.
///
/// Isolation: its connection's event loop.
final class PlainStream: ExchangeTransport {
    private let call: ServerCall
    private var exchange: HTTPExchange?
    private var queue = Deque<[UInt8]>()
    /// Bytes of the first of them already taken.
    private var taken = 0
    /// Answer bytes that wait.
    private(set) var queuedBytes = 0
    private var isWhole = false
    /// nghttp2 stopped asking for data; it must be told when there is some.
    private var isDeferred = false
    private let isHead: Bool

    private init(_ call: ServerCall, isHead: Bool) {
        self.call = call
        self.isHead = isHead
    }

    /// Turns a stream whose request head is complete into an exchange.
    static func begin(
        on call: ServerCall, of connection: ServerConnection, _ handler: @Sendable (HTTPExchange) -> Void
    ) {
        let request = call.request
        let stream = PlainStream(call, isHead: request.otherVerb == "HEAD")
        let exchange = HTTPExchange(
            head: HTTPHead(request, connection.configuration), loop: connection.loop,
            transport: stream)
        stream.exchange = exchange
        call.plain = stream
        // The call lets both go when it is over, and with them the stream.
        call.onRoom = { stream.exchange?.roomIsFree() }
        call.onCancel = { reason in stream.ended(reason) }
        connection.countHeld(by: call)
        if case .tooLarge = request.fault {
            exchange.answer(.text(431, "request headers larger than the server accepts\n"))
        } else if connection.holdsTooMuch {
            exchange.answer(.text(503, "the connection's requests hold too many bytes\n"))
        } else {
            handler(exchange)
        }
    }

    /// Bytes of the request's body in memory.
    var heldBytes: Int { exchange?.heldBytes ?? 0 }

    func received(_ bytes: UnsafeRawBufferPointer) {
        exchange?.received(bytes)
        readingChanged()
    }

    func requestEnded() { exchange?.requestEnded() }

    /// The stream is gone, or goes.
    private func ended(_ reason: CancelReason) {
        let ending = exchange
        exchange = nil
        ending?.cancel(reason)
    }

    /// The connection counts these bytes no more.
    func detach() {
        queue = []
        queuedBytes = 0
    }

    // MARK: ExchangeTransport

    func start(status: Int, headers: [(name: String, value: String)], length: Int?) {
        guard let connection = call.connection, let session = connection.session else { return }
        connection.policy.hasAnswered = true
        var fields: [(name: String, value: String)] = [(":status", String(status))]
        for header in headers { fields.append((header.name.lowercased(), header.value)) }
        if let length { fields.append(("content-length", String(length))) }
        let hasBody = !isHead && length != 0
        HeaderFields.withFields(fields) { fields in
            ServerCallbacks.submitPlain(session, call, fields, hasBody: hasBody)
        }
        if !hasBody { isWhole = true }
        connection.setNeedsFlush()
    }

    func write(_ bytes: [UInt8]) {
        guard let connection = call.connection, !isHead, !isWhole, !bytes.isEmpty else { return }
        queue.append(bytes)
        queuedBytes += bytes.count
        connection.queuedBytes += bytes.count
        resume(connection)
        if !hasRoom { connection.waitForRoom(call) }
    }

    func finish() {
        exchange = nil
        call.end(.ok)
        guard let connection = call.connection, !isWhole else { return }
        isWhole = true
        resume(connection)
    }

    func abandon() {
        exchange = nil
        call.end(.ok)
        call.connection?.reset(call, code: NGHTTP2_INTERNAL_ERROR.rawValue)
    }

    var hasRoom: Bool {
        guard let connection = call.connection else { return false }
        if call.fits(connection, within: 1) { return true }
        connection.waitForRoom(call)
        return false
    }

    func readingChanged() {
        // What comes for an exchange that is over is dropped, and may come: the client is reset once it is answered.
        guard let connection = call.connection, !call.isRemoteClosed, exchange?.isReadingPaused != true else { return }
        connection.widenWindow(of: call, to: ServerConnection.streamWindow)
    }

    func bodyHeldChanged() -> Bool {
        guard let connection = call.connection else { return true }
        connection.countHeld(by: call)
        return !connection.holdsTooMuch
    }

    /// HTTP/2 has another way to them (RFC 8441), which is not offered.
    func acceptWebSocket(subprotocol: String?) {}

    private func resume(_ connection: ServerConnection) {
        guard isDeferred else { return }
        isDeferred = false
        connection.resume(call)
    }

    // MARK: nghttp2's questions

    func offer(upTo limit: Int) -> ServerCall.Offer {
        let count = min(queuedBytes, limit)
        if isWhole, count == queuedBytes { return .plainEnd(count) }
        guard count > 0 else {
            isDeferred = true
            return .nothingYet
        }
        return .bytes(count)
    }

    /// Copies exactly `length` bytes to the end of `output`; the connection's count is the caller's.
    func take(_ length: Int, into output: inout ByteBuffer) {
        var wanted = length
        queuedBytes -= length
        while wanted > 0, let first = queue.first {
            let count = min(first.count - taken, wanted)
            first.withUnsafeBytes { bytes in
                _ = output.writeBytes(UnsafeRawBufferPointer(rebasing: bytes[taken..<(taken + count)]))
            }
            wanted -= count
            taken += count
            if taken == first.count {
                queue.removeFirst()
                taken = 0
            }
        }
    }
}

extension HTTPHead {
    /// What came by HTTP/2.
    fileprivate init(_ request: RequestHead, _ configuration: ServerConfiguration) {
        self.init(
            method: request.isPost ? "POST" : request.otherVerb, target: request.unknownPath, host: request.authority,
            headers: request.metadata.all)
        isSecure = configuration.isSecure
        peerCommonName = configuration.peer?.commonName
        if case .malformedTimeout(let text) = request.fault {
            timeout = .malformed(text)
        } else if let amount = request.timeout {
            timeout = .after(amount)
        }
    }
}

extension MetadataBlock {
    /// All names and values in order.
    var all: [(name: String, value: String)] {
        var pairs: [(name: String, value: String)] = []
        forEach { name, value in
            pairs.append((String(decoding: name, as: UTF8.self), String(decoding: value, as: UTF8.self)))
        }
        return pairs
    }

    /// Adds one, for callers that do not come by gRPC.
    package mutating func append(name: String, value: String) {
        var name = name
        var value = value
        name.withUTF8 { name in
            value.withUTF8 { value in append(name: UnsafeRawBufferPointer(name), value: UnsafeRawBufferPointer(value)) }
        }
    }
}

extension HeaderFields {
    /// Makes a header list of texts, valid during the call.
    static func withFields(
        _ pairs: [(name: String, value: String)], _ body: (UnsafeMutableBufferPointer<nghttp2_nv>) -> Void
    ) {
        var text: [UInt8] = []
        var lengths: [(name: Int, value: Int)] = []
        for pair in pairs {
            text += Array(pair.name.utf8)
            text += Array(pair.value.utf8)
            lengths.append((pair.name.utf8.count, pair.value.utf8.count))
        }
        text.append(0)  // So that there is an address even for an empty value at the end.
        text.withUnsafeMutableBufferPointer { text in
            withUnsafeTemporaryAllocation(of: nghttp2_nv.self, capacity: pairs.count) { fields in
                var offset = 0
                for (position, length) in lengths.enumerated() {
                    fields.initializeElement(
                        at: position,
                        to: nghttp2_nv(
                            name: text.baseAddress.map { $0 + offset },
                            value: text.baseAddress.map { $0 + offset + length.name }, namelen: length.name,
                            valuelen: length.value, flags: UInt8(truncatingIfNeeded: NGHTTP2_NV_FLAG_NONE.rawValue)))
                    offset += length.name + length.value
                }
                body(fields)
            }
        }
    }
}
