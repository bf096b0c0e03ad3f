import EtcdAPI
import SwiftProtobuf

/// How a lock is shared.
public enum LockMode: Sendable, Hashable {
    /// Alone.
    case exclusive
    /// Together with other shared holders.
    case shared
    /// One of at most so many holders at once, each counting with its own number.
    case permits(Int)

    init(_ mode: Berth_V1_Mode, permits: Int64) {
        self =
            switch mode {
            case .exclusive, .UNRECOGNIZED: .exclusive
            case .shared: .shared
            case .permit: .permits(Int(permits))
            }
    }

    var wire: Berth_V1_Mode {
        switch self {
        case .exclusive: .exclusive
        case .shared: .shared
        case .permits: .permit
        }
    }

    var permits: Int64 { if case .permits(let number) = self { Int64(number) } else { 0 } }
}

/// A place in a lock's line, as others see it.
public struct Place: Sendable, Hashable {
    /// The owner key, `NAME/<lease in hexadecimal>`.
    public var key: Bytes
    /// The fencing token: the owner key's create revision.
    public var token: Int64
    /// The lease the place lives by.
    public var lease: LeaseID
    /// Whose it is, in the owner's words.
    public var owner: String
    /// What else the owner shows.
    public var attributes: [String: String]
    /// How it shares.
    public var mode: LockMode
    /// The keys it guards while it holds.
    public var guards: [KeyRange]
    /// It holds now.
    public var holds: Bool
    /// Places before it.
    public var ahead: Int
    /// When it entered the line, in milliseconds since 1970 by the server's clock; nil when unknown.
    public var queuedAt: Int64?
    /// When it began to hold, likewise; nil when it waits or that is unknown.
    public var acquiredAt: Int64?
    /// What each renewal of its lease gives.
    public var timeToLive: Duration
    /// What is left of its lease.
    public var remaining: Duration
    /// Nobody but its owner, the end of its lease or an operator removes it. False for places made through etcd's API.
    public var isProtected: Bool
    /// An election's proposal; for a lock whatever its client wrote.
    public var value: Bytes

    init(_ wire: Berth_V1_Place) {
        key = Bytes(wire.key)
        token = wire.token
        lease = LeaseID(wire.lease)
        owner = wire.owner
        attributes = wire.attributes
        mode = LockMode(wire.mode, permits: wire.permits)
        guards = wire.guards.map { KeyRange(key: Bytes($0.key), end: Bytes($0.rangeEnd)) }
        holds = wire.holds
        ahead = Int(wire.ahead)
        queuedAt = wire.queuedAt == 0 ? nil : wire.queuedAt
        acquiredAt = wire.acquiredAt == 0 ? nil : wire.acquiredAt
        timeToLive = .seconds(wire.ttl)
        remaining = .milliseconds(wire.remainingMilliseconds)
        isProtected = wire.protected
        value = Bytes(wire.value)
    }

    /// What a plain queue key tells.
    init(_ pair: KeyValue, holds: Bool, ahead: Int) {
        key = pair.key
        token = pair.createRevision
        lease = pair.lease ?? LeaseID(0)
        owner = pair.value.string ?? ""
        attributes = [:]
        mode = .exclusive
        guards = []
        self.holds = holds
        self.ahead = ahead
        timeToLive = .zero
        remaining = .zero
        isProtected = false
        value = pair.value
    }

    /// Who, in a few words.
    var shortDescription: String {
        let who = owner.isEmpty ? key.description : owner
        let left = remaining > .zero ? ", \(remaining.wholeSeconds) s left of its lease" : ""
        return "held by \(who) with token \(token)\(left)"
    }
}

/// How a release went.
public enum ReleaseOutcome: Sendable, Hashable {
    /// This call gave the place up; it was held until then.
    case released
    /// The place had ended before, as told by the server where it still knows.
    case lostBefore(LockEvent?)
}
