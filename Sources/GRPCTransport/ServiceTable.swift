import NIOCore

#if canImport(Glibc)
    import Glibc
#endif

/// The methods a server answers, by path (`/package.Service/Method`).
public struct ServiceTable: Sendable {
    /// Called once with the whole request, which is valid during the call. Answers now or later, on the same event loop.
    public typealias UnaryHandler = @Sendable (ServerCall, _ request: UnsafeRawBufferPointer) -> Void
    /// Called once when the request's headers are there; sets the call's callbacks.
    public typealias StreamingHandler = @Sendable (ServerCall) -> Void

    var methods: [String: ServerMethod.Kind] = [:]
    /// Asked on the event loop for each call whose metadata hold `hasleader: true`, before its handler: a status refuses
    /// the call. Calls without it cost nothing.
    public var leaderCheck: (@Sendable () -> GRPCStatus?)?
    /// Counts the calls of these methods, and the connections of servers with this table; nil counts nothing.
    public var meter: CallMeter?

    /// An empty table.
    public init() {}

    /// Adds a method that takes one message and answers with one.
    public mutating func unary(_ path: String, _ handler: @escaping UnaryHandler) {
        add(path, .unary(handler))
    }

    /// Adds a method with a stream in either or both directions.
    ///
    /// - Parameter type: what its calls are counted as; its messages may flow as they like all the same.
    public mutating func streaming(
        _ path: String, type: CallMeter.MethodType = .serverStream, _ handler: @escaping StreamingHandler
    ) {
        add(path, .streaming(type, handler))
    }

    /// Full names of the services that methods were added for.
    public var serviceNames: Set<String> { Set(methods.keys.compactMap { MethodTable.split($0)?.service }) }

    /// Puts a question before methods: `admission` tells for each path what is asked of every call before its handler is,
    /// or nil where nothing is. A status refuses the call; nil lets it through.
    public mutating func admit(_ admission: (_ path: String) -> (@Sendable (ServerCall) -> GRPCStatus?)?) {
        for (path, kind) in methods {
            guard let refusal = admission(path) else { continue }
            switch kind {
            case .unary(let handler):
                methods[path] = .unary { call, request in
                    if let status = refusal(call) { call.fail(status) } else { handler(call, request) }
                }
            case .streaming(let type, let handler):
                methods[path] = .streaming(type) { call in
                    if let status = refusal(call) { call.fail(status) } else { handler(call) }
                }
            }
        }
    }

    /// Paths of all methods.
    package var paths: Set<String> { Set(methods.keys) }

    /// The method at a path, for callers that do not come by gRPC.
    package func method(at path: String) -> ServerMethod? {
        methods[path].map { ServerMethod(path: Array(path.utf8), kind: $0, meterPosition: meter?.position(of: path)) }
    }

    private mutating func add(_ path: String, _ kind: ServerMethod.Kind) {
        precondition(path.utf8.first == UInt8(ascii: "/"), "a method's path starts with a slash")
        precondition(methods.updateValue(kind, forKey: path) == nil, "two handlers for \(path)")
    }
}

/// One method as the table holds it.
package final class ServerMethod: Sendable {
    package enum Kind: Sendable {
        case unary(ServiceTable.UnaryHandler)
        case streaming(CallMeter.MethodType, ServiceTable.StreamingHandler)
    }
    let path: [UInt8]
    package let kind: Kind
    /// Its place in the server's meter; nil when nobody counts it.
    let meterPosition: Int?

    init(path: [UInt8], kind: Kind, meterPosition: Int?) {
        self.path = path
        self.kind = kind
        self.meterPosition = meterPosition
    }

    func hasPath(_ bytes: UnsafeRawBufferPointer) -> Bool {
        path.withUnsafeBytes { path in
            guard path.count == bytes.count, let left = path.baseAddress, let right = bytes.baseAddress else {
                return false
            }
            return memcmp(left, right, path.count) == 0
        }
    }
}

/// The methods, found by a path's raw bytes without making a string: an open hash table, half full at most.
final class MethodTable: Sendable {
    private let slots: [ServerMethod?]
    private let services: Set<String>
    let leaderCheck: (@Sendable () -> GRPCStatus?)?
    let meter: CallMeter?

    init(_ table: ServiceTable) {
        meter = table.meter
        var capacity = 16
        while capacity < table.methods.count * 2 { capacity *= 2 }
        var slots = [ServerMethod?](repeating: nil, count: capacity)
        var services: Set<String> = []
        for (path, kind) in table.methods {
            let bytes = Array(path.utf8)
            var slot = bytes.withUnsafeBytes(Self.hash) & (capacity - 1)
            while slots[slot] != nil { slot = (slot + 1) & (capacity - 1) }
            slots[slot] = ServerMethod(path: bytes, kind: kind, meterPosition: meter?.position(of: path))
            if let (service, _) = Self.split(path) { services.insert(service) }
        }
        self.slots = slots
        self.services = services
        leaderCheck = table.leaderCheck
    }

    func find(_ path: UnsafeRawBufferPointer) -> ServerMethod? {
        let mask = slots.count - 1
        var slot = Self.hash(path) & mask
        while let method = slots[slot] {
            if method.hasPath(path) { return method }
            slot = (slot + 1) & mask
        }
        return nil
    }

    /// The status for a path that `find` does not know.
    func unknown(_ path: String) -> GRPCStatus {
        guard let (service, method) = Self.split(path) else {
            return GRPCStatus(.unimplemented, "malformed method name: \(path)")
        }
        guard services.contains(service) else { return GRPCStatus(.unimplemented, "unknown service \(service)") }
        return GRPCStatus(.unimplemented, "unknown method \(method) for service \(service)")
    }

    static func split(_ path: String) -> (service: String, method: String)? {
        guard path.first == "/", let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return nil }
        return (
            String(path[path.index(after: path.startIndex)..<slash]), String(path[path.index(after: slash)...])
        )
    }

    /// Eight bytes at a step; paths differ mostly near their ends, which the last, overlapping step covers.
    private static func hash(_ bytes: UnsafeRawBufferPointer) -> Int {
        var hash = UInt64(bytes.count) &* 0x9e37_79b9_7f4a_7c15
        func mix(_ word: UInt64) {
            hash = (hash ^ word) &* 0xff51_afd7_ed55_8ccd
            hash ^= hash >> 32
        }
        if bytes.count >= 8 {
            var offset = 0
            while offset + 8 <= bytes.count {
                mix(bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
                offset += 8
            }
            mix(bytes.loadUnaligned(fromByteOffset: bytes.count - 8, as: UInt64.self))
        } else {
            for byte in bytes { mix(UInt64(byte)) }
        }
        return Int(truncatingIfNeeded: hash & 0x7fff_ffff_ffff_ffff)
    }
}
