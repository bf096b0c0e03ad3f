import Berth
import EtcdAPI
import GRPCTransport
import SwiftProtobuf
import Testing

@Suite struct EndpointTests {
    @Test(arguments: [
        ("http://localhost:2379", "localhost", 2379, false), ("https://db.example:1", "db.example", 1, true),
        ("10.0.0.1:99", "10.0.0.1", 99, false), ("host", "host", 2379, false), ("http://[::1]:7/", "::1", 7, false),
    ])
    func `endpoints are read as people write them`(text: String, host: String, port: Int, isSecure: Bool) throws {
        let endpoint = try Endpoint(text, prefersTLS: false)
        #expect(endpoint.host == host)
        #expect(endpoint.port == port)
        #expect(endpoint.isSecure == isSecure)
    }

    @Test(arguments: ["", "ftp://host:1", "host:", "host:0", "host:65536", "http://", "[::1]x", "host/path:1"])
    func `what is no endpoint is refused`(text: String) {
        #expect(throws: BerthError.self) { _ = try Endpoint(text, prefersTLS: false) }
    }
}

@Suite struct BytesTests {
    @Test func `bytes print as text, and what cannot be printed as numbers`() {
        #expect("\(Bytes("order:1"))" == "order:1")
        #expect("\(Bytes([0x61, 0, 0xff]))" == "a\\x00\\xff")
        #expect(Bytes([0xff]).string == nil)
        #expect(Bytes("a") < Bytes("b"))
        #expect(Bytes("a") < Bytes("aa"))
    }

    @Test func `a prefix is the range up to the next key that lacks it`() {
        #expect(KeyRange.prefix("ab").end == "ac")
        #expect(KeyRange.prefix([1, 0xff]).end == [2])
        #expect(KeyRange.prefix([0xff]).end == [0])
        #expect(KeyRange.prefix([]) == .all)
        #expect(KeyRange.prefix("ab").contains("abc"))
        #expect(!KeyRange.prefix("ab").contains("b"))
        #expect(KeyRange.key("a").contains("a"))
        #expect(!KeyRange.key("a").contains("aa"))
        #expect(KeyRange.from("b").contains("zz"))
    }

    @Test func `lease numbers are read as they are written`() {
        #expect(LeaseID(-1).description == "ffffffffffffffff")
        #expect(LeaseID(hex: "ffffffffffffffff") == LeaseID(-1))
        #expect(LeaseID(hex: "x") == nil)
    }

    @Test func `binary metadata is decoded padded or not`() {
        #expect(Base64.decode("aGVsbG8=".utf8) == Array("hello".utf8))
        #expect(Base64.decode("aGVsbG8".utf8) == Array("hello".utf8))
        #expect(Base64.decode("a".utf8) == nil)
        #expect(Base64.decode("a*==".utf8) == nil)
    }
}

@Suite struct PatienceTests {
    private let start = ContinuousClock.now

    @Test func `an outage is borne for so long, and a connection that stood makes it a new one`() {
        var patience = Patience(limit: .seconds(2), deadline: nil, firstPause: .milliseconds(100))
        #expect(patience.failed(start: start, now: start) == .milliseconds(100))
        #expect(patience.failed(start: start + .seconds(1), now: start + .seconds(1)) == .milliseconds(200))
        #expect(patience.failed(start: start + .seconds(2), now: start + .seconds(2)) == nil)
        #expect(patience.failed(start: start + .seconds(2), now: start + .seconds(90)) == .milliseconds(100))
    }

    @Test func `a deadline ends it all`() {
        var patience = Patience(limit: .seconds(9), deadline: start + .seconds(1))
        #expect(patience.failed(start: start, now: start + .milliseconds(990)) == nil)
    }
}

@Suite struct WatchDialectTests {
    private func answer(_ revisions: [Int64], header: Int64, fragment: Bool = false) throws -> [UInt8] {
        let response = Etcdserverpb_WatchResponse.with {
            $0.header.revision = header
            $0.fragment = fragment
            $0.events = revisions.map { revision in .with { $0.kv.modRevision = revision } }
        }
        return try response.serializedBytes()
    }

    private func delivered(_ step: StreamStep<WatchBatch>) -> [Int64] {
        if case .element(let batch) = step { batch.events.map(\.revision) } else { [] }
    }

    private func start(_ dialect: inout WatchDialect) throws -> Int64 {
        let request = try Etcdserverpb_WatchRequest(serializedBytes: dialect.request())
        return request.createRequest.startRevision
    }

    @Test func `a stream that broke within a revision is taken up behind what was delivered of it`() throws {
        var dialect = WatchDialect(.all, from: 5, options: .init())
        #expect(try start(&dialect) == 5)
        #expect(delivered(try dialect.take(answer([5, 6, 6], header: 9, fragment: true))) == [5, 6, 6])
        #expect(try start(&dialect) == 6)
        #expect(delivered(try dialect.take(answer([6, 6, 6], header: 9, fragment: true))) == [6])
        #expect(delivered(try dialect.take(answer([6, 7], header: 9))) == [6, 7])
        #expect(try start(&dialect) == 8)
    }

    @Test func `a header ahead of its events does not skip what is still to come`() throws {
        var dialect = WatchDialect(.all, from: 5, options: .init())
        _ = try dialect.take(answer([5], header: 100))
        #expect(try start(&dialect) == 6)
        _ = try dialect.take(answer([], header: 40))
        #expect(try start(&dialect) == 41)
        #expect(delivered(try dialect.take(answer([39, 40], header: 40))) == [])
        #expect(try start(&dialect) == 41)
    }
}
