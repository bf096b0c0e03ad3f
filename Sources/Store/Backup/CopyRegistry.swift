/// The copies of base under way, so that whoever has to take base's map away can end them first: they hold a read
/// transaction, and wait for clients, so nobody may wait for them.
final class CopyRegistry: Sendable {
    private struct State {
        var copies: [ObjectIdentifier: SnapshotCopy] = [:]
        /// How many want that there is none.
        var shutters = 0
        var reason = ""
    }

    private let state = Monitor(State())

    /// Adds a copy that `make` begins, unless base must be let alone.
    func begin(_ make: () throws(StoreError) -> SnapshotCopy) throws(StoreError) -> SnapshotCopy {
        // Made under the lock: between a look and the beginning of the transaction base could be taken away.
        let result = state.withLock { state -> Result<SnapshotCopy, StoreError> in
            guard state.shutters == 0 else { return .failure(.copyEnded(reason: state.reason)) }
            do throws(StoreError) {
                let copy = try make()
                state.copies[ObjectIdentifier(copy)] = copy
                return .success(copy)
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    /// Copies under way.
    var count: Int { state.withLock { $0.copies.count } }

    func remove(_ copy: SnapshotCopy) {
        state.withLock { $0.copies[ObjectIdentifier(copy)] = nil }
    }

    /// Ends all copies, waiting for steps under way, and lets none begin until `open`.
    func shut(_ reason: String) {
        let copies = state.withLock { state in
            state.shutters += 1
            state.reason = reason
            defer { state.copies = [:] }
            return Array(state.copies.values)
        }
        for copy in copies { copy.end(.copyEnded(reason: reason)) }
    }

    func open() { state.withLock { $0.shutters -= 1 } }
}
