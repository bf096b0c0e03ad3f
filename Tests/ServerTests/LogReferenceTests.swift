import Server
import Testing
import Vocabulary

@Test func `a log reference survives encoding, and damage to it is noticed`() throws {
    let reference = LogReference(clusterID: .max, appliedIndex: RaftIndex(123_456))
    #expect(try LogReference(decoding: reference.encoded) == reference)
    #expect(throws: LogReferenceError.self) { try LogReference(decoding: []) }
    #expect(throws: LogReferenceError.self) { try LogReference(decoding: Array(reference.encoded.dropLast())) }
    #expect(throws: LogReferenceError.self) { try LogReference(decoding: [0xff, 0xff]) }
}
