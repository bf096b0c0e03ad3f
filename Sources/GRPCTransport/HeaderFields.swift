import CNghttp2

#if canImport(Glibc)
    import Glibc
#endif

/// Header lists built once and sent without copying names or values.
struct HeaderFields: @unchecked Sendable {
    // Sendable: written only while it is built, by the initialiser of a static constant; never freed.
    let fields: UnsafePointer<nghttp2_nv>
    let count: Int

    init(_ pairs: [(StaticString, StaticString)]) {
        let memory = UnsafeMutablePointer<nghttp2_nv>.allocate(capacity: pairs.count)
        for (position, pair) in pairs.enumerated() {
            (memory + position).initialize(to: Self.field(pair.0, pair.1))
        }
        self.fields = UnsafePointer(memory)
        self.count = pairs.count
    }

    /// Starts a response that has messages.
    static let response = HeaderFields([(":status", "200"), ("content-type", "application/grpc")])
    /// Ends a successful one.
    static let okTrailers = HeaderFields([("grpc-status", "0")])

    static func field(_ name: StaticString, _ value: StaticString) -> nghttp2_nv {
        nghttp2_nv(
            name: UnsafeMutablePointer(mutating: name.utf8Start),
            value: UnsafeMutablePointer(mutating: value.utf8Start), namelen: name.utf8CodeUnitCount,
            valuelen: value.utf8CodeUnitCount,
            flags: UInt8(
                truncatingIfNeeded: NGHTTP2_NV_FLAG_NO_COPY_NAME.rawValue | NGHTTP2_NV_FLAG_NO_COPY_VALUE.rawValue))
    }

    /// A field whose value nghttp2 copies while it is submitted.
    static func field(_ name: StaticString, copying value: UnsafeRawBufferPointer) -> nghttp2_nv {
        nghttp2_nv(
            name: UnsafeMutablePointer(mutating: name.utf8Start),
            value: UnsafeMutablePointer(mutating: value.assumingMemoryBound(to: UInt8.self).baseAddress),
            namelen: name.utf8CodeUnitCount, valuelen: value.count,
            flags: UInt8(truncatingIfNeeded: NGHTTP2_NV_FLAG_NO_COPY_NAME.rawValue))
    }

    /// The statuses' numbers as text, so that none is made per call.
    static let statusNumbers: [StaticString] = [
        "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16",
    ]
}

extension UnsafeRawBufferPointer {
    /// Whether these bytes are exactly `text`.
    @inline(__always)
    func equals(_ text: StaticString) -> Bool {
        guard count == text.utf8CodeUnitCount, let baseAddress else { return count == text.utf8CodeUnitCount }
        return memcmp(baseAddress, text.utf8Start, count) == 0
    }

    /// Whether these bytes begin with `text`.
    func starts(with text: StaticString) -> Bool {
        guard count >= text.utf8CodeUnitCount, let baseAddress else { return text.utf8CodeUnitCount == 0 }
        return memcmp(baseAddress, text.utf8Start, text.utf8CodeUnitCount) == 0
    }
}
