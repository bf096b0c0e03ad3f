import CLMDB
import Glibc
import Vocabulary

/// What base says about itself as a whole: written in the transaction whose data it describes, never apart from it.
struct BaseState: Hashable, Sendable {
    /// Base holds the effects of every log entry up to here, and of none behind.
    var appliedIndex = RaftIndex.zero
    var appliedTerm = RaftTerm.zero
    var currentRevision = Revision.initial
    /// Revisions below are refused; `zero` when nothing was ever compacted.
    var compactedRevision = Revision.zero
}

/// All of base's `meta`, read when the store is opened.
struct BaseContents {
    var identity: MemberIdentity
    var state: BaseState
    /// The last compaction whose removals are all done.
    var compactedPhysically: Revision

    /// Reads `meta` in a transaction of base in the folder `path`.
    init(_ transaction: OpaquePointer, path: String, expected: MemberIdentity?) throws(StoreError) {
        var database: MDB_dbi = 0
        let code = mdb_dbi_open(transaction, "meta", 0, &database)
        if code == MDB_NOTFOUND { throw .corrupt(place: "base/meta", detail: "there is no such database") }
        try check(code, "mdb_dbi_open (meta)")
        let meta = MetaTable(transaction: transaction, database: database)
        guard let format = try meta.number(.format) else {
            throw .corrupt(place: "base/meta", detail: "there is no format version")
        }
        guard format == Layout.formatVersion else {
            throw .unknownFormat(path: path, found: format, expected: Layout.formatVersion)
        }
        identity = MemberIdentity(
            clusterID: try meta.required(.clusterID), memberID: try meta.required(.memberID))
        state = BaseState(
            appliedIndex: RaftIndex(try meta.required(.appliedIndex)),
            appliedTerm: RaftTerm(try meta.required(.appliedTerm)),
            currentRevision: try meta.revision(.currentRevision),
            compactedRevision: try meta.revision(.compactedRevision))
        compactedPhysically = Revision(Int64(bitPattern: try meta.number(.compactionDone) ?? 0))
        guard state.currentRevision >= .initial, state.compactedRevision <= state.currentRevision else {
            throw .corrupt(
                place: "base/meta",
                detail: "current revision \(state.currentRevision), compacted \(state.compactedRevision)")
        }
        if let expected, expected != identity { throw .foreignIdentity(found: identity, expected: expected) }
    }

    /// Writes the `meta` of a new base, with a new random identity when none is expected.
    @discardableResult
    static func create(in base: Environment, expected: MemberIdentity?) throws(StoreError) -> MemberIdentity {
        var random = SystemRandomNumberGenerator()
        let identity =
            expected
            ?? MemberIdentity(
                clusterID: .random(in: 1 ... .max, using: &random), memberID: .random(in: 1 ... .max, using: &random))
        try base.write(commit: "mdb_txn_commit (new base)") { transaction throws(StoreError) in
            let meta = MetaTable(transaction: transaction, database: base.databases.meta)
            try meta.set(.format, Layout.formatVersion)
            try meta.set(.clusterID, identity.clusterID)
            try meta.set(.memberID, identity.memberID)
            try meta.set(BaseState())
        }
        return identity
    }
}

/// The `meta` database within a transaction: numbers under names.
struct MetaTable {
    enum Name: String {
        case format
        case clusterID = "cluster_id"
        case memberID = "member_id"
        case appliedIndex = "applied_index"
        case appliedTerm = "applied_term"
        case currentRevision = "current_revision"
        case compactedRevision = "compacted_revision"
        /// The last compaction whose removals are all done.
        case compactionDone = "compaction_done"
        /// Where the walk of the one in progress stands: main, and sub of the next change to look at.
        case compactionMain = "compaction_main"
        case compactionSub = "compaction_sub"
    }

    let transaction: OpaquePointer
    let database: MDB_dbi

    func number(_ name: Name) throws(StoreError) -> UInt64? {
        try Array(name.rawValue.utf8).withRawBytes { bytes throws(StoreError) in
            var key = MDB_val(bytes)
            var value = MDB_val()
            let code = mdb_get(transaction, database, &key, &value)
            if code == MDB_NOTFOUND { return nil }
            try check(code, "mdb_get (meta)")
            guard value.mv_size == 8, let address = value.mv_data else {
                throw .corrupt(place: "base/meta", detail: "\(name.rawValue) has \(value.mv_size) bytes, not 8")
            }
            return UInt64(bigEndian: address.loadUnaligned(as: UInt64.self))
        }
    }

    func required(_ name: Name) throws(StoreError) -> UInt64 {
        guard let number = try number(name) else {
            throw .corrupt(place: "base/meta", detail: "\(name.rawValue) is missing")
        }
        return number
    }

    func revision(_ name: Name) throws(StoreError) -> Revision {
        Revision(Int64(bitPattern: try required(name)))
    }

    func set(_ name: Name, _ number: UInt64) throws(StoreError) {
        try Array(name.rawValue.utf8).withRawBytes { bytes throws(StoreError) in
            var stored = number.bigEndian
            try withUnsafeMutableBytes(of: &stored) { contents throws(StoreError) in
                var key = MDB_val(bytes)
                var value = MDB_val(mv_size: contents.count, mv_data: contents.baseAddress)
                try check(mdb_put(transaction, database, &key, &value, 0), "mdb_put (meta)")
            }
        }
    }

    func set(_ state: BaseState) throws(StoreError) {
        try set(.appliedIndex, state.appliedIndex.value)
        try set(.appliedTerm, state.appliedTerm.value)
        try set(.currentRevision, UInt64(bitPattern: state.currentRevision.value))
        try set(.compactedRevision, UInt64(bitPattern: state.compactedRevision.value))
    }
}

extension Environment {
    /// Writes anything under a name of `meta`.
    func overwriteMeta(_ name: String, _ bytes: [UInt8]?) throws(StoreError) {
        try write(commit: "mdb_txn_commit (meta)") { transaction throws(StoreError) in
            let database = databases.meta
            let code = Array(name.utf8).withRawBytes { name in
                var key = MDB_val(name)
                guard let bytes else { return mdb_del(transaction, database, &key, nil) }
                return bytes.withRawBytes { contents in
                    var value = MDB_val(contents)
                    return mdb_put(transaction, database, &key, &value, 0)
                }
            }
            try check(code, "mdb_put (meta)")
        }
    }
}
