public import EtcdAPI
import ProtobufWire
public import Vocabulary

/// Bounds of what a client may say of its place: it is kept in memory and in the log while the place stands.
public enum LockLimits {
    /// Bytes of a lock's name.
    public static let nameBytes = 1_024
    /// Bytes of the owner's label.
    public static let ownerBytes = 256
    /// Entries of the attribute map.
    public static let attributes = 16
    /// Bytes of all entries of the attribute map together.
    public static let attributeBytes = 4_096
    /// Guards of one place.
    public static let guards = 16
    /// Bytes of all guards' keys together.
    public static let guardBytes = 8_192
    /// Holders of a permit lock.
    public static let permits: Int64 = 1_000_000
    /// Bytes of who breaks a lock, and of why.
    public static let breakBytes = 1_024
}

extension RequestCheck {
    /// Checks a `berth.v1.AcquireRequest`. The lease, if none was named, is the server's to fill in.
    public static func acquire(
        _ message: UnsafeRawBufferPointer, alarms: AlarmSet
    ) throws(EtcdError) -> AcquireView {
        let request: AcquireView
        do throws(WireError) { request = try AcquireView(message) } catch { throw .malformed(error) }
        try checkName(request.name)
        try checkPlace(timeToLive: request.timeToLive, lease: request.lease, wait: request.waitMilliseconds)
        guard let mode = request.mode else {
            throw .invalidLockRequest("mode \(request.rawMode) means nothing; expected EXCLUSIVE, SHARED or PERMIT")
        }
        switch mode {
        case .permit:
            guard 1...LockLimits.permits ~= request.permits else {
                throw .invalidLockRequest("permits is \(request.permits); expected 1 to \(LockLimits.permits)")
            }
        case .exclusive, .shared:
            guard request.permits == 0 else { throw .invalidLockRequest("permits are for mode PERMIT only") }
        }
        try checkOwner(request.owner)
        try checkAttributes(request.attributes)
        try checkGuards(request)
        try alarms.refuseWrite(thatGrows: true)
        return request
    }

    /// Checks what every request for a place says of itself.
    public static func checkPlace(timeToLive: Int64, lease: LeaseID, wait: Int64?) throws(EtcdError) {
        guard timeToLive >= 0 else {
            throw .invalidLockRequest("ttl is \(timeToLive) seconds; expected 0 or more")
        }
        guard timeToLive <= Limits.maximumLeaseSeconds else { throw .leaseTimeToLiveTooLarge }
        guard timeToLive > 0 || lease != .none else {
            throw .invalidLockRequest("neither ttl nor lease is given; a place needs a lease to hang on")
        }
        guard wait ?? 0 >= 0 else {
            throw .invalidLockRequest("wait_milliseconds is \(wait ?? 0); expected 0 or more, or nothing")
        }
    }

    /// Checks a lock's or an election's name.
    public static func checkName(_ name: UnsafeRawBufferPointer) throws(EtcdError) {
        guard !name.isEmpty else { throw .invalidLockRequest("name is not provided") }
        guard name.count <= LockLimits.nameBytes else {
            throw .invalidLockRequest("the name has \(name.count) bytes; at most \(LockLimits.nameBytes) are allowed")
        }
    }

    /// Checks an owner's label.
    public static func checkOwner(_ owner: UnsafeRawBufferPointer) throws(EtcdError) {
        guard owner.count <= LockLimits.ownerBytes else {
            throw .invalidLockRequest("owner has \(owner.count) bytes; at most \(LockLimits.ownerBytes) are allowed")
        }
        guard String(validating: owner, as: UTF8.self) != nil else {
            throw .invalidLockRequest("owner is not UTF-8")
        }
    }

    private static func checkAttributes(_ entries: [UnsafeRawBufferPointer]) throws(EtcdError) {
        let size = entries.reduce(0) { $0 + $1.count }
        guard entries.count <= LockLimits.attributes, size <= LockLimits.attributeBytes else {
            throw .invalidLockRequest(
                """
                \(entries.count) attributes of together \(size) bytes; \
                at most \(LockLimits.attributes) of \(LockLimits.attributeBytes) bytes are allowed
                """)
        }
        for entry in entries { try checkAttribute(entry) }
    }

    /// An entry is kept as it came and shown to others, so it must be what their decoders take.
    private static func checkAttribute(_ entry: UnsafeRawBufferPointer) throws(EtcdError) {
        do throws(WireError) {
            var reader = WireReader(entry)
            while let field = try reader.nextField() {
                let text = try reader.bytes(of: field)
                guard field.field == 1 || field.field == 2, String(validating: text, as: UTF8.self) != nil else {
                    throw .unexpectedType(field: field.field)
                }
            }
        } catch {
            throw .invalidLockRequest("an attribute is no pair of texts in UTF-8: \(error)")
        }
    }

    private static func checkGuards(_ request: AcquireView) throws(EtcdError) {
        guard !request.isUnguarded || request.guards.isEmpty else {
            throw .invalidLockRequest("guards are given, and unguarded too")
        }
        guard request.guards.count <= LockLimits.guards,
            request.guards.reduce(0, { $0 + $1.key.count + $1.rangeEnd.count }) <= LockLimits.guardBytes
        else {
            throw .invalidLockRequest(
                "at most \(LockLimits.guards) guards of together \(LockLimits.guardBytes) bytes are allowed")
        }
        for one in request.guards {
            guard !one.key.isEmpty else { throw .emptyKey }
            let isUnbounded = one.rangeEnd.count == 1 && one.rangeEnd[0] == 0
            guard one.rangeEnd.isEmpty || isUnbounded || one.key.lexicographicallyPrecedes(one.rangeEnd) else {
                throw .invalidLockRequest("a guard's range_end is not behind its key")
            }
        }
    }

    /// Checks a `berth.v1.BreakRequest`.
    public static func breakPlace(
        _ message: UnsafeRawBufferPointer, alarms: AlarmSet
    ) throws(EtcdError) -> BreakView {
        let request: BreakView
        do throws(WireError) { request = try BreakView(message) } catch { throw .malformed(error) }
        try checkName(request.name)
        for text in [request.by, request.reason] {
            guard text.count <= LockLimits.breakBytes, String(validating: text, as: UTF8.self) != nil else {
                throw .invalidLockRequest(
                    "by and reason are texts in UTF-8 of at most \(LockLimits.breakBytes) bytes each")
            }
        }
        guard !request.by.isEmpty, !request.reason.isEmpty else {
            throw .invalidLockRequest("by and reason are needed: a break is kept with who did it and why")
        }
        try alarms.refuseWrite(thatGrows: false)
        return request
    }

    /// Bytes a place is reckoned to add.
    public static func placeQuotaCost(_ payloadBytes: Int) -> Int { 512 + payloadBytes }
}
