package import Store

extension KeyRange {
    /// The keys a watch asks for. Here, unlike in a range request, an empty key means the zero byte.
    ///
    /// - Returns: nil when the range can hold no key (`end` at or before `key`).
    package init?(watching key: [UInt8], end: [UInt8]) {
        self.init(key: key.isEmpty ? [0] : key, end: end)
        if isEmpty { return nil }
    }
}
