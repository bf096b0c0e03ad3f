import GRPCTransport

/// `berth.v1.Maintenance`: copies of the store.
struct BerthMaintenance: Sendable {
    let context: ServerContext

    func register(in table: inout ServiceTable) {
        table.streaming("/berth.v1.Maintenance/Snapshot") { call in
            SnapshotStream(call: call, context: context, form: .berth).start()
        }
    }
}
