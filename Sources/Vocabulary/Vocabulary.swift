/// The words every module shares, each a type of its own so that one quantity is never taken for another.
///
/// This module depends on nothing and holds no behaviour beyond ordering and arithmetic that means something, and
/// `BytesTable`.

/// A point in the store's history: the main revision of etcd's MVCC model. The empty store is at revision 1.
public struct Revision: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The number as it stands on the wire.
    public var value: Int64

    /// Wraps a revision number.
    @inlinable
    public init(_ value: Int64) { self.value = value }

    /// No revision: what an absent key, a never-compacted store or an unset field reports.
    public static let zero = Revision(0)
    /// The revision of a store that was never written to.
    public static let initial = Revision(1)

    /// The revision the next effective write gets.
    @inlinable
    public var next: Revision { Revision(value + 1) }
    /// The revision just before this one.
    @inlinable
    public var previous: Revision { Revision(value - 1) }

    /// Orders by age.
    @inlinable
    public static func < (a: Revision, b: Revision) -> Bool { a.value < b.value }

    /// The plain number.
    public var description: String { String(value) }
}

/// Names a lease. Any non-zero number, negative ones too; zero on the wire means "no lease".
public struct LeaseID: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The number as it stands on the wire.
    public var value: Int64

    /// Wraps a lease number.
    @inlinable
    public init(_ value: Int64) { self.value = value }

    /// No lease.
    public static let none = LeaseID(0)

    /// Orders by number; only for determinism.
    @inlinable
    public static func < (a: LeaseID, b: LeaseID) -> Bool { a.value < b.value }

    /// Lowercase hexadecimal without padding, as etcd's tools and queue keys write it.
    public var description: String { String(UInt64(bitPattern: value), radix: 16) }
}

/// A position in the replicated log. The first entry has 1.
public struct RaftIndex: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The number as libraft counts.
    public var value: UInt64

    /// Wraps a log position.
    @inlinable
    public init(_ value: UInt64) { self.value = value }

    /// Before the first entry.
    public static let zero = RaftIndex(0)

    /// Orders by position.
    @inlinable
    public static func < (a: RaftIndex, b: RaftIndex) -> Bool { a.value < b.value }

    /// The plain number.
    public var description: String { String(value) }
}

/// A leader's reign in the replicated log.
public struct RaftTerm: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The number as libraft counts.
    public var value: UInt64

    /// Wraps a term number.
    @inlinable
    public init(_ value: UInt64) { self.value = value }

    /// Before the first election.
    public static let zero = RaftTerm(0)

    /// Orders by age.
    @inlinable
    public static func < (a: RaftTerm, b: RaftTerm) -> Bool { a.value < b.value }

    /// The plain number.
    public var description: String { String(value) }
}

/// Who answers: the ids every response header carries. Both are random and never zero.
public struct MemberIdentity: Hashable, Sendable {
    /// Shared by all members of a cluster.
    public var clusterID: UInt64
    /// This member's own.
    public var memberID: UInt64

    /// Pairs the two ids.
    public init(clusterID: UInt64, memberID: UInt64) {
        self.clusterID = clusterID
        self.memberID = memberID
    }
}

/// An instant of the monotonic clock, as time since an arbitrary start. Never the wall clock.
public struct MonotonicInstant: Hashable, Comparable, Sendable {
    /// Time since the clock's start.
    public var sinceStart: Duration

    /// Wraps a distance from the clock's start.
    @inlinable
    public init(sinceStart: Duration) { self.sinceStart = sinceStart }

    /// Orders by time.
    @inlinable
    public static func < (a: Self, b: Self) -> Bool { a.sinceStart < b.sinceStart }
    /// The instant `duration` later.
    @inlinable
    public static func + (instant: Self, duration: Duration) -> Self {
        Self(sinceStart: instant.sinceStart + duration)
    }
    /// The time from `b` to `a`.
    @inlinable
    public static func - (a: Self, b: Self) -> Duration { a.sinceStart - b.sinceStart }
}
