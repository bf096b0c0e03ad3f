/// How a lock is asked for.
public struct LockOptions: Sendable, Hashable {
    /// How it is shared with others.
    public var mode: LockMode
    /// Longest wait in line; nil waits for ever, `.zero` tries once.
    public var wait: Duration?
    /// Keys that nobody but a holder may write while the lock is held; nil means the key named like the lock, an empty
    /// list none.
    public var guards: [KeyRange]?
    /// Shown to others; empty means the configuration's owner.
    public var owner: String
    /// Further things shown to others.
    public var attributes: [String: String]

    /// An exclusive lock that waits for ever, unless said otherwise.
    public init(
        mode: LockMode = .exclusive, wait: Duration? = nil, guards: [KeyRange]? = nil, owner: String = "",
        attributes: [String: String] = [:]
    ) {
        self.mode = mode
        self.wait = wait
        self.guards = guards
        self.owner = owner
        self.attributes = attributes
    }
}
