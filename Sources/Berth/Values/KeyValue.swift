import EtcdAPI
import SwiftProtobuf

/// A key's state at some revision.
public struct KeyValue: Sendable, Hashable {
    /// The key.
    public var key: Bytes
    /// Its value; empty when only keys were asked for.
    public var value: Bytes
    /// The revision that created the key's present life.
    public var createRevision: Int64
    /// The revision of its last put.
    public var modRevision: Int64
    /// Puts since it was created, that one included.
    public var version: Int64
    /// The lease it hangs on; nil when it lives until it is deleted.
    public var lease: LeaseID?

    init(_ wire: Mvccpb_KeyValue) {
        key = Bytes(wire.key)
        value = Bytes(wire.value)
        createRevision = wire.createRevision
        modRevision = wire.modRevision
        version = wire.version
        lease = wire.lease == 0 ? nil : LeaseID(wire.lease)
    }
}
