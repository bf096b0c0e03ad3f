extension ServerCall {
    /// What nghttp2 may take now.
    enum Offer {
        case bytes(Int)
        case lastBytes(Int, trailers: GRPCStatus)
        /// The end of a plain answer.
        case plainEnd(Int)
        case nothingYet
    }
}
