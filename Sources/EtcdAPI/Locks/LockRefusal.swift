import ProtobufWire
public import Vocabulary

/// Why a write was refused: a key of it is guarded, and no proof came with it.
public struct LockRefusal: Hashable, Sendable {
    /// The key that was to be written.
    public var key: [UInt8]
    /// The lock that guards it.
    public var lock: [UInt8]
    /// The key whose create revision would be accepted as proof: a holder's.
    public var holder: [UInt8]
    /// That create revision.
    public var token: Revision
    /// The holder's label.
    public var owner: [UInt8]
    /// The holder's lease.
    public var lease: LeaseID
    /// What is left of the lease; nil while nobody has looked.
    public var remainingMilliseconds: Int64?

    /// Names key and holder.
    public init(
        key: [UInt8], lock: [UInt8], holder: [UInt8], token: Revision, owner: [UInt8], lease: LeaseID
    ) {
        self.key = key
        self.lock = lock
        self.holder = holder
        self.token = token
        self.owner = owner
        self.lease = lease
    }

    /// The status's text. It begins with `berth: key is locked`.
    var message: String {
        let key = Self.quoted(key)
        let lock = Self.quoted(lock)
        let who = owner.isEmpty ? "" : " by \(Self.quoted(owner))"
        return """
            berth: key is locked: \(key) is guarded by lock \(lock), held\(who) with token \(token); \
            write it in a transaction that compares the create revision of \(Self.quoted(holder)) with that token
            """
    }

    private static func quoted(_ bytes: [UInt8]) -> String {
        let text = String(decoding: bytes.prefix(200), as: UTF8.self)
        return "\"\(text)\(bytes.count > 200 ? "…" : "")\""
    }

    /// A `google.rpc.Status` whose one detail is a `berth.v1.LockedDetail`: what the trailer `grpc-status-details-bin`
    /// carries.
    public func statusDetails(code: Int) -> [UInt8] {
        var detail = WireWriter(capacity: 64)
        detail.bytesField(1, key)
        detail.bytesField(2, lock)
        detail.bytesField(3, holder)
        detail.int64Field(4, token.value)
        detail.bytesField(5, owner)
        detail.int64Field(6, remainingMilliseconds ?? 0)
        var any = WireWriter(capacity: 64)
        any.bytesField(1, Array("type.googleapis.com/berth.v1.LockedDetail".utf8))
        any.bytesField(2, detail.bytes)
        var status = WireWriter(capacity: 128)
        status.int64Field(1, Int64(code))
        status.bytesField(2, Array(message.utf8))
        status.messageField(3, any.bytes)
        return status.bytes
    }
}
