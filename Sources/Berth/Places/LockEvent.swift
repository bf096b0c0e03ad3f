import EtcdAPI
import SwiftProtobuf

/// Something that happened in a line.
public struct LockEvent: Sendable, Hashable {
    /// What happened.
    public enum Kind: String, Sendable, Hashable {
        /// Entered the line.
        case queued
        /// Began to hold.
        case acquired
        /// A holder gave its place up.
        case released
        /// The lease ran out; `held` tells whether it held.
        case expired
        /// A waiter left.
        case gaveUp
        /// An operator took the place away: see `by` and `reason`.
        case broken
        /// The place's value changed: a leader proclaimed.
        case proclaimed
        /// Someone before the observed place left; only when one place is observed.
        case moved
    }

    /// What happened.
    public var kind: Kind
    /// At which revision.
    public var revision: Int64
    /// The lock.
    public var name: Bytes
    /// The place's owner key.
    public var key: Bytes
    /// Its token.
    public var token: Int64
    /// Its lease.
    public var lease: LeaseID
    /// Whose it is.
    public var owner: String
    /// How it shares.
    public var mode: LockMode
    /// Places before it at that moment. When a place leaves, all behind it move up by one.
    public var ahead: Int
    /// It held when this happened.
    public var held: Bool
    /// Who broke it.
    public var by: String
    /// Why it was broken.
    public var reason: String
    /// When, in milliseconds since 1970 by the server's clock; nil when unknown.
    public var at: Int64?

    /// Nil for a kind this library does not know.
    init?(_ wire: Berth_V1_Event) {
        switch wire.type {
        case .queued: kind = .queued
        case .acquired: kind = .acquired
        case .released: kind = .released
        case .expired: kind = .expired
        case .gaveUp: kind = .gaveUp
        case .broken: kind = .broken
        case .proclaimed: kind = .proclaimed
        case .moved: kind = .moved
        case .UNRECOGNIZED: return nil
        }
        revision = wire.revision
        name = Bytes(wire.name)
        key = Bytes(wire.key)
        token = wire.token
        lease = LeaseID(wire.lease)
        owner = wire.owner
        mode = LockMode(wire.mode, permits: wire.permits)
        ahead = Int(wire.ahead)
        held = wire.held
        by = wire.by
        reason = wire.reason
        at = wire.at == 0 ? nil : wire.at
    }

    /// Why a place is gone, in words; nil when this event does not end one.
    var lossReason: String? {
        switch kind {
        case .released: "it was released"
        case .expired: "its lease ran out"
        case .gaveUp: "it left the line"
        case .broken: "broken by \(by.isEmpty ? "an operator" : by)\(reason.isEmpty ? "" : ": \(reason)")"
        case .queued, .acquired, .proclaimed, .moved: nil
        }
    }
}
