// Reads that write only if nothing came in between.
extension KV {
    /// Puts `new` in the place of `old`, if the key has just that value.
    ///
    /// - Parameters:
    ///   - old: the value expected; nil expects that the key does not exist.
    ///   - new: the value to put; nil deletes the key. A lease the key hangs on stays.
    /// - Throws: as `put`; `.uncertain` when it may have happened.
    public func compareAndSwap(
        _ key: Bytes, from old: Bytes?, to new: Bytes?
    ) async throws(BerthError) -> SwapResult {
        let outcome = try await txn {
            if let old { Check.value(of: key, is: old) } else { Check.missing(key) }
            if let new {
                Self.put(key, new, isThere: old != nil)
            } else {
                Delete(.key(key))
            }
            Otherwise { Get(.key(key)) }
        }
        return SwapResult(
            swapped: outcome.succeeded, revision: outcome.revision, current: outcome.values.first ?? nil)
    }

    private static func put(_ key: Bytes, _ value: Bytes, isThere: Bool) -> Put {
        var put = Put(key, value)
        put.keepsLease = isThere
        return put
    }

    /// Adds to a counter: a key whose value is a whole number in decimal digits. A missing key counts from 0. No
    /// addition of anyone is lost.
    ///
    /// - Returns: the sum.
    /// - Throws: `.invalid` when the value is no such number, or the sum is past `Int64`; as `put` else. After
    ///   `.uncertain` the addition may or may not have happened.
    @discardableResult
    public func increment(_ key: Bytes, by amount: Int64 = 1) async throws(BerthError) -> Int64 {
        var seen = try await get(key)
        while true {
            let old = try Self.number(seen, of: key)
            let (sum, isOverflow) = old.addingReportingOverflow(amount)
            if isOverflow { throw .invalid("\(key) holds \(old): \(amount) more is past the largest number") }
            let outcome = try await txn {
                Check.modRevision(of: key, .equal, seen?.modRevision ?? 0)
                Self.put(key, Bytes(String(sum)), isThere: seen != nil)
                Otherwise { Get(.key(key)) }
            }
            if outcome.succeeded { return sum }
            seen = outcome.values.first ?? nil
            try caller.checkOpen()
        }
    }

    private static func number(_ seen: KeyValue?, of key: Bytes) throws(BerthError) -> Int64 {
        guard let seen else { return 0 }
        guard let number = seen.value.string.flatMap({ Int64($0) }) else {
            throw .invalid("\(key) is no counter: its value is \(seen.value)")
        }
        return number
    }
}

/// What became of a `compareAndSwap`.
public struct SwapResult: Sendable, Hashable {
    /// The value was as expected, and is the new one now.
    public var swapped: Bool
    /// The store's revision behind it.
    public var revision: Int64
    /// When not swapped: what the key is instead, nil when it does not exist.
    public var current: KeyValue?
}
