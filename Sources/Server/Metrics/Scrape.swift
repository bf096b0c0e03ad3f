import GRPCTransport

/// What one answer of `/metrics` is made from: the server, and what is looked at once for all lines.
@dynamicMemberLookup
struct Scrape: Sendable {
    let context: ServerContext
    let process = ProcessNumbers()
    /// Calls, and all loops' counts of them together; nil before the services are known.
    let calls: (metrics: CallMetrics, reading: CallReading)?

    init(_ context: ServerContext) {
        self.context = context
        calls = context.metrics.calls.map { ($0, $0.meter.reading) }
    }

    /// Everything else is the server's.
    subscript<Value>(dynamicMember member: KeyPath<ServerContext, Value>) -> Value { context[keyPath: member] }
}
