import EtcdAPI
import FoundationEssentials
import Server
import SwiftProtobuf
import Testing

private func keyValue(_ number: Int, valueBytes: Int) throws -> [UInt8] {
    var keyValue = Mvccpb_KeyValue()
    keyValue.key = Data("k\(number)".utf8)
    keyValue.value = Data(repeating: 7, count: valueBytes)
    return try keyValue.serializedBytes()
}

@Test func `fragments hold every event once, in order, whole, and within the limit where an event allows`() throws {
    var events = EncodedEvents()
    for number in 0..<50 {
        try keyValue(number, valueBytes: number == 25 ? 5_000 : 100).withUnsafeBytes {
            events.append($0, isDeletion: number % 7 == 0, previous: nil)
        }
    }
    var keys: [String] = []
    var flags: [Bool] = []
    events.forEachFragment(limit: 1_000) { bytes, isFragment in
        flags.append(isFragment)
        do {
            let response = try Etcdserverpb_WatchResponse(serializedBytes: bytes)
            #expect(bytes.count <= 1_000 || response.events.count == 1)
            keys += response.events.map { String(decoding: $0.kv.key, as: UTF8.self) }
        } catch {
            Issue.record("a fragment does not decode: \(error)")
        }
    }
    #expect(keys == (0..<50).map { "k\($0)" })
    #expect(flags.dropLast().allSatisfy { $0 } && flags.last == false)
}
