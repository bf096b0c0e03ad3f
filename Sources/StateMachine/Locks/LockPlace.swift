package import EtcdAPI
package import Store
package import Vocabulary

/// What a client of `berth.v1` said of its place. A place made through etcd's API has the defaults.
package struct PlaceTerms: Equatable, Sendable {
    /// With whom it may hold.
    package var mode = LockMode.exclusive
    /// For a permit: holders there may be, this one included.
    package var permits: Int64 = 0
    /// Keys nobody but a holder may write while it holds.
    package var guards: [KeyRange] = []
    /// Label shown to others.
    package var owner: [UInt8] = []
    /// Entries of the attribute map, as encoded.
    package var attributes: [[UInt8]] = []
    /// When it entered, in milliseconds since 1970; zero when unknown.
    package var queuedAt: Int64 = 0
    /// Its lease was granted by an acquire, and ends with the last such place.
    package var ownsLease = false
    /// Only its owner, the end of its lease, or an operator's break removes it.
    package var isProtected = false

    package init() {}
}

/// One place in a line.
///
/// Isolation: the log thread.
package final class LockPlace {
    /// The owner key.
    package let key: [UInt8]
    /// The fencing token: the key's create revision.
    package let token: Revision
    package let lease: LeaseID
    package let terms: PlaceTerms
    /// When it came: the write that made its key hang on its lease. Orders the line.
    let entered: LeaseTable.Attachment
    /// When it began to hold, in milliseconds since 1970; zero when it waits or nobody said.
    package internal(set) var acquiredAt: Int64 = 0
    /// How often it was asked for again.
    package internal(set) var claim: Int64 = 0
    /// When it came and when it began to hold, for metrics alone, as `StateMachine.measuredAt` counts; zero when unknown.
    var enteredAt = 0
    var heldSince = 0
    /// It is among the holders.
    package internal(set) var holds = false

    init(key: [UInt8], token: Revision, lease: LeaseID, terms: PlaceTerms, entered: LeaseTable.Attachment) {
        self.key = key
        self.token = token
        self.lease = lease
        self.terms = terms
        self.entered = entered
    }
}
