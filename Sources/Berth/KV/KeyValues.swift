/// The keys of a range in order, all as of one revision. Reads a page when the one before is used up, and holds one.
public struct KeyValues: AsyncSequence, Sendable {
    /// One key after the other.
    public typealias Element = KeyValue
    /// What a page can fail with; `.compacted` when history went before the last page.
    public typealias Failure = BerthError

    let kv: KV
    let first: Get

    /// Reads one key after the other.
    public struct AsyncIterator: AsyncIteratorProtocol {
        let kv: KV
        var next: Get?
        var page: ArraySlice<KeyValue> = []

        /// The next key, nil behind the last.
        public mutating func next() async throws(BerthError) -> KeyValue? {
            try await next(isolation: #isolation)
        }

        /// The next key, nil behind the last.
        public mutating func next(isolation: isolated (any Actor)?) async throws(BerthError) -> KeyValue? {
            while page.isEmpty {
                guard var get = next else { return nil }
                let answer = try await kv.page(get)
                page = answer.values[...]
                if answer.more, let last = answer.values.last {
                    get.range = KeyRange(key: last.key.successor, end: get.range.end)
                    get.revision = get.revision ?? answer.revision
                    next = get
                } else {
                    next = nil
                }
            }
            return page.popFirst()
        }
    }

    /// An iterator that reads from the start.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(kv: kv, next: first) }
}
