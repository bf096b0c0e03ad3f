import CNghttp2
import FoundationEssentials
import NIOCore

#if canImport(Glibc)
    import Glibc
#endif

/// What a request's headers said. Filled while they arrive, judged when they are complete.
struct RequestHead {
    /// Why the request will be refused, once its headers are complete; the first reason stands.
    enum Fault {
        case malformedTimeout(String)
        case unknownEncoding(String)
        case tooLarge
    }

    /// Longest `grpc-message`, encoded. nghttp2 drops a header block over 64 KiB, and the call would never end.
    private static let maxMessageBytes = 4 << 10
    private static let maxDetailBytes = 4 << 10

    var method: ServerMethod?
    /// Kept only when no method has this path.
    var unknownPath = ""
    var isPost = false
    /// Any other verb.
    var otherVerb = ""
    /// Kept only for what is no gRPC request by then; gRPC has no use for it.
    var authority = ""
    var isGRPC = false
    var timeout: TimeAmount?
    var deadline: NIODeadline?
    var fault: Fault?
    var listBytes = 0
    var metadata = MetadataBlock()
    /// The metadata hold `hasleader: true`, which etcd's clients send to be refused while there is no leader.
    var requiresLeader = false
    private var hasSeenLeaderRule = false
    var isComplete = false

    /// Takes one header. `methods` finds the path.
    mutating func add(
        name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer, limit: Int, methods: MethodTable
    ) {
        listBytes += name.count + value.count + 32
        guard listBytes <= limit else {
            fault = .tooLarge
            return
        }
        switch name.count {
        case 5 where name.equals(":path"):
            method = methods.find(value)
            if method == nil { unknownPath = String(decoding: value, as: UTF8.self) }
        case 7 where name.equals(":method"):
            isPost = value.equals("POST")
            if !isPost { otherVerb = Self.quotable(value) }
        case 7 where name.equals(":scheme"): break
        case 2 where name.equals("te"): break
        case 10 where name.equals("user-agent"): break
        case 10 where name.equals(":authority"):
            // Most of gRPC's come after a known path.
            if method == nil { authority = Self.quotable(value) }
        case 12 where name.equals("content-type"): isGRPC = Self.isGRPCContentType(value)
        case 12 where name.equals("grpc-timeout"):
            timeout = TimeoutHeader.parse(value)
            if timeout == nil { fault = fault ?? .malformedTimeout(Self.quotable(value)) }
        case 13 where name.equals("grpc-encoding"):
            if !value.equals("identity") {
                fault = fault ?? .unknownEncoding(Self.quotable(value))
            }
        case 20 where name.equals("grpc-accept-encoding"): break
        case 9 where name.equals("hasleader"):
            // Given twice, the first counts.
            if !hasSeenLeaderRule { requiresLeader = value.equals("true") }
            hasSeenLeaderRule = true
        default: metadata.append(name: name, value: value)
        }
    }

    /// Whether it is as most are: then nothing else needs to be asked. Looks at single members, so that nothing is copied.
    var isInOrder: Bool {
        @inline(__always) get { fault == nil && isPost && isGRPC && method != nil && !requiresLeader }
    }

    /// Why this request is refused, nil when a handler may have it.
    func refusal(methods: MethodTable) -> (httpStatus: StaticString, status: GRPCStatus)? {
        if case .tooLarge = fault {
            return ("200", GRPCStatus(.resourceExhausted, "request headers larger than the server accepts"))
        }
        guard isPost else { return ("405", GRPCStatus(.internal, "a gRPC request is a POST")) }
        guard isGRPC else { return ("415", GRPCStatus(.invalidArgument, "content-type is not application/grpc")) }
        guard method != nil else { return ("200", methods.unknown(String(unknownPath.prefix(256)))) }
        if requiresLeader, fault == nil, let refusal = methods.leaderCheck?() { return ("200", refusal) }
        switch fault {
        case .unknownEncoding(let encoding):
            return ("200", GRPCStatus(.unimplemented, "grpc-encoding \(encoding) is not supported"))
        case .malformedTimeout: return ("200", GRPCStatus(.internal, "malformed grpc-timeout"))
        case .tooLarge, nil: return nil
        }
    }

    /// Makes the trailers for `status`, and with an HTTP status a whole response of headers only.
    func withTrailers(
        _ status: GRPCStatus, httpStatus: StaticString?, _ body: (UnsafeMutableBufferPointer<nghttp2_nv>) -> Void
    ) {
        let text = PercentEncoding.encode(status.message, limit: Self.maxMessageBytes)
        let details = status.details.count <= Self.maxDetailBytes ? status.details : []
        let encodedDetails = details.isEmpty ? [] : Array(Data(details).base64EncodedString().utf8)
        text.withUnsafeBytes { text in
            encodedDetails.withUnsafeBytes { details in
                withUnsafeTemporaryAllocation(of: nghttp2_nv.self, capacity: 6) { fields in
                    var count = 0
                    func add(_ field: nghttp2_nv) {
                        fields.initializeElement(at: count, to: field)
                        count += 1
                    }
                    if let httpStatus {
                        add(HeaderFields.field(":status", httpStatus))
                        add(HeaderFields.field("content-type", "application/grpc"))
                    }
                    add(HeaderFields.field("grpc-status", HeaderFields.statusNumbers[status.code.rawValue]))
                    if !text.isEmpty { add(HeaderFields.field("grpc-message", copying: text)) }
                    if !details.isEmpty { add(HeaderFields.field("grpc-status-details-bin", copying: details)) }
                    if case .unknownEncoding = fault {
                        add(HeaderFields.field("grpc-accept-encoding", "identity"))
                    }
                    body(UnsafeMutableBufferPointer(rebasing: fields[..<count]))
                }
            }
        }
    }

    /// Of what nobody knows, no more is kept than an error can usefully show.
    private static func quotable(_ value: UnsafeRawBufferPointer) -> String {
        String(decoding: value.prefix(256), as: UTF8.self)
    }

    private static func isGRPCContentType(_ value: UnsafeRawBufferPointer) -> Bool {
        guard value.starts(with: "application/grpc") else { return false }
        guard value.count > 16 else { return true }
        return value[16] == UInt8(ascii: "+") || value[16] == UInt8(ascii: ";")
    }
}

/// Headers kept for handlers, one after another in one block: most requests have none, and then nothing is allocated.
package struct MetadataBlock: Sendable {
    /// Name length and value length as two and four bytes, then both.
    private var bytes: [UInt8] = []

    package init() {}

    /// Whether there are none.
    package var isEmpty: Bool { bytes.isEmpty }
    /// Memory held.
    package var byteCount: Int { bytes.count }

    package mutating func append(name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
        guard name.count <= Int(UInt16.max), value.count <= Int(UInt32.max) else { return }
        bytes.reserveCapacity(bytes.count + 6 + name.count + value.count)
        withUnsafeBytes(of: UInt16(name.count)) { bytes.append(contentsOf: $0) }
        withUnsafeBytes(of: UInt32(value.count)) { bytes.append(contentsOf: $0) }
        bytes.append(contentsOf: name)
        bytes.append(contentsOf: value)
    }

    /// Each name and value, valid during the call.
    func forEach(_ body: (_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> Void) {
        bytes.withUnsafeBytes { block in
            var offset = 0
            while offset + 6 <= block.count {
                let nameLength = Int(block.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
                let valueLength = Int(block.loadUnaligned(fromByteOffset: offset + 2, as: UInt32.self))
                let valueStart = offset + 6 + nameLength
                body(
                    UnsafeRawBufferPointer(rebasing: block[(offset + 6)..<valueStart]),
                    UnsafeRawBufferPointer(rebasing: block[valueStart..<(valueStart + valueLength)]))
                offset = valueStart + valueLength
            }
        }
    }

    /// Compares in memory: this runs for every request of a client that sends metadata.
    private static func isSame(_ name: String, _ bytes: UnsafeRawBufferPointer) -> Bool {
        var name = name
        return name.withUTF8 { name in
            guard name.count == bytes.count, let left = name.baseAddress, let right = bytes.baseAddress else {
                return false
            }
            return memcmp(left, right, bytes.count) == 0
        }
    }

    package func value(of name: String) -> String? {
        withValue(of: name) { String(decoding: $0, as: UTF8.self) }
    }

    /// Looks at the first value of a name in place; nil when there is none.
    func withValue<Result>(of name: String, _ body: (UnsafeRawBufferPointer) -> Result) -> Result? {
        guard !bytes.isEmpty else { return nil }
        return bytes.withUnsafeBytes { block in
            var offset = 0
            while offset + 6 <= block.count {
                let nameLength = Int(block.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
                let valueLength = Int(block.loadUnaligned(fromByteOffset: offset + 2, as: UInt32.self))
                let nameStart = offset + 6
                let valueStart = nameStart + nameLength
                if Self.isSame(name, UnsafeRawBufferPointer(rebasing: block[nameStart..<valueStart])) {
                    return body(UnsafeRawBufferPointer(rebasing: block[valueStart..<(valueStart + valueLength)]))
                }
                offset = valueStart + valueLength
            }
            return nil
        }
    }
}
