/// Whether the member can do what clients come for. The log thread finds out, each event loop is told when it changes.
enum MemberCondition: Sendable {
    /// It leads and takes writes.
    case serving
    /// It leads, but the store cannot be flushed and has no room left: writes are refused.
    case refusingWrites
    /// It does not lead: it starts, or its log's disk fails.
    case withoutLeader
}
