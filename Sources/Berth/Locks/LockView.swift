/// One lock, as it stands.
public struct LockView: Sendable, Hashable {
    /// Its name.
    public var name: Bytes
    /// The store's revision this was true at.
    public var revision: Int64
    /// In order; holders first. Perhaps cut by the limit.
    public var places: [Place]
    /// How many hold.
    public var holders: Int
    /// How many wait.
    public var waiters: Int
}

/// Locks found by name.
public struct LockList: Sendable, Hashable {
    /// By name.
    public var locks: [LockSummary]
    /// There are more behind the last.
    public var more: Bool
    /// The store's revision this was true at.
    public var revision: Int64
}

/// One lock, in short.
public struct LockSummary: Sendable, Hashable {
    /// Its name.
    public var name: Bytes
    /// How many hold.
    public var holders: Int
    /// How many wait.
    public var waiters: Int
    /// The head of the line.
    public var first: Place?
}
