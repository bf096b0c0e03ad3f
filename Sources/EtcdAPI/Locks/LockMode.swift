/// With whom a place in a line may hold. Numbers as in `berth.v1.Mode`.
public enum LockMode: Int64, Sendable, CaseIterable {
    /// Alone.
    case exclusive = 0
    /// Together with other shared places.
    case shared = 1
    /// Together with a limited number of others that came before.
    case permit = 2
}

/// What happened to a place. Numbers as in `berth.v1.Event.Type`.
public enum LineEventKind: Int64, Sendable, CaseIterable {
    case queued = 0
    case acquired = 1
    case released = 2
    case expired = 3
    case gaveUp = 4
    case broken = 5
    case proclaimed = 6
    case moved = 7
}
