public import Vocabulary

/// What the index knows of one version of a key: everything but the key and its value.
public struct KeyRecord: Sendable, CustomStringConvertible {
    /// The revision that began the key's present life.
    public var createRevision: Revision
    /// The revision that wrote this version.
    public var modRevision: Revision
    /// The place of this write among those of its revision.
    public var modSub: UInt32
    /// 1 at creation, one more with each put.
    public var version: Int64
    /// The lease the key is attached to.
    public var lease: LeaseID
    /// Whether this is the mark that a deletion leaves. Never true for records that are handed out.
    var isTombstone = false
    /// Which layer this was read from: where to look for its value first, nothing more.
    var layer: UInt8 = 0

    /// Describes a version of a key.
    public init(createRevision: Revision, modRevision: Revision, modSub: UInt32, version: Int64, lease: LeaseID) {
        self.createRevision = createRevision
        self.modRevision = modRevision
        self.modSub = modSub
        self.version = version
        self.lease = lease
    }

    /// For messages of tests and logs.
    public var description: String {
        "create \(createRevision) mod \(modRevision).\(modSub) version \(version) lease \(lease)"
    }
}

extension KeyRecord: Equatable {
    /// Whether both describe the same version, wherever it was read from.
    public static func == (a: KeyRecord, b: KeyRecord) -> Bool {
        a.modRevision == b.modRevision && a.modSub == b.modSub && a.createRevision == b.createRevision
            && a.version == b.version && a.lease == b.lease && a.isTombstone == b.isTombstone
    }
}

/// One change of the history. The bytes are valid during the call that hands it out.
public struct StoredChange {
    /// When it happened.
    public var revision: Revision
    /// Its place among the changes of its revision.
    public var sub: UInt32
    /// Whether the key was deleted.
    public var isDeletion: Bool
    /// The encoded `mvccpb.KeyValue`. That of a deletion has `key` and `mod_revision` only.
    public var keyValue: UnsafeRawBufferPointer
}

/// Whether a walk goes on.
public enum Visit: Sendable {
    /// Go on.
    case next
    /// Enough seen.
    case stop
}
