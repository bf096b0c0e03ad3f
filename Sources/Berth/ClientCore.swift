import EtcdAPI
import SwiftProtobuf
import Synchronization

/// What all parts of one client share, and what closing it ends: connections, lease renewals, the watch over places
/// held, and tasks that tidy up.
final class ClientCore: Sendable {
    let caller: Caller
    let keeper: LeaseKeeper
    let places: PlaceWatch
    let tidying = TaskBag()
    /// The servers lack `berth.v1`: found out by the first call of it.
    private let lacksLocks = Atomic<Bool>(false)
    private let isClosing = Atomic<Bool>(false)
    private let closed = OneShot<Void>()

    init(_ configuration: BerthConfiguration) throws(BerthError) {
        caller = try Caller(configuration)
        keeper = LeaseKeeper(caller)
        places = PlaceWatch(caller)
    }

    var leases: Leases { Leases(core: self) }
    var kv: KV { KV(caller: caller) }
    var configuration: BerthConfiguration { caller.configuration }

    /// Ends everything, tidying up first; a second call waits for the first.
    func close() async {
        let isFirst = isClosing.compareExchange(expected: false, desired: true, ordering: .acquiringAndReleasing)
            .exchanged
        guard isFirst else {
            _ = await closed.wait()
            return
        }
        // Shielded: a cancelled task closes its client too.
        await shielded {
            await self.tidying.close()
            await self.places.close()
            await self.keeper.close()
            await self.caller.close()
        }
        closed.fire(())
    }

    /// Ends renewals and watches without waiting for them: the last resort of a client that nobody closed.
    func stop() {
        keeper.stop()
        places.stop()
    }

    /// Does something by `berth.v1`, or the etcd way on servers that lack it.
    func byDialect<Value>(
        berth: () async throws(BerthError) -> Value, etcd: () async throws(BerthError) -> Value
    ) async throws(BerthError) -> Value {
        if lacksLocks.load(ordering: .relaxed) { return try await etcd() }
        do throws(BerthError) {
            return try await berth()
        } catch .unsupported(let what) where what.contains("berth.v1") {
            lacksLocks.store(true, ordering: .relaxed)
            return try await etcd()
        }
    }

    /// Says that a plain etcd lacks something.
    static func lacking(_ what: String) -> BerthError {
        .unsupported("this server \(what): it offers etcd's API alone; use a Berth server for that")
    }

    /// Ends a lease after its place is not wanted any more, without making anyone wait. It runs out in any case.
    func abandon(_ lease: LeaseID) {
        keeper.forget(lease, as: .revoked)
        let caller = caller
        tidying.add {
            let request = Etcdserverpb_LeaseRevokeRequest.with { $0.id = lease.value }
            let limit = caller.configuration.pace.abandonTimeout
            _ = try? await caller.call(Methods.revoke, request, options: .init(timeout: .after(limit)))
        }
    }
}
