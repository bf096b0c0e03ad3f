import EtcdAPI
import Gateway
import SwiftProtobuf
import TestSupport
import Testing

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// What etcd 3.5.1 does with each body was asked of one, and holds here; its texts hold where clients may know them.
@Suite struct JSONCodecTests {
    private func decoded<Request: Message>(_ text: String, as: Request.Type) throws -> Request {
        let bytes = try Array(text.utf8).withUnsafeBytes {
            try JSONCodec.decode($0, type: Request.protoMessageName)
        }
        return try Request(serializedBytes: bytes)
    }

    private func encoded(_ message: some Message) throws -> String {
        let bytes: [UInt8] = try message.serializedBytes()
        let text = try bytes.withUnsafeBytes { try JSONCodec.encode($0, type: type(of: message).protoMessageName) }
        return String(decoding: text, as: UTF8.self)
    }

    private func fault<Request: Message>(_ text: String, as: Request.Type) -> String? {
        #expect(throws: JSONFault.self, "\(text)") { try decoded(text, as: Request.self) }?.description
    }

    // MARK: Requests

    @Test(arguments: [
        (#"{"key":"Zm9v","value":"YmFy"}"#, "foo", "bar"),
        (#" { "key" : "Zm9v" , "value" : "" } "#, "foo", ""),
        (#"{"key":"Zm9v\n"}"#, "foo", ""),
        (#"{"key":"\u005am9v"}"#, "foo", ""),
        (#"{"key":"Zg=="}"#, "f", ""),
        (#"{"key":"Zm8="}"#, "fo", ""),
        (#"{"key":"Zm9v"} x"#, "foo", ""),
        (#"{"key":"Zm9v"}{"key":"YQ=="}"#, "foo", ""),
        (#"{"key":"YQ==","key":"Zm9v"}"#, "foo", ""),
        (#"{"key":"Zm9v","value":"YQ==","value":null}"#, "foo", ""),
        (#"{"key":"Zm9v","nope":{"a":[1,-2.5e3,{"b":null}],"c":"\ud83d\ude00"}}"#, "foo", ""),
        (#"{"Key":"YQ==","key":"Zm9v"}"#, "foo", ""),
        ("", "", ""), ("   ", "", ""), ("null", "", ""), ("{}", "", ""),
    ])
    func `a put is read`(text: String, key: String, value: String) throws {
        let put = try decoded(text, as: Etcdserverpb_PutRequest.self)
        #expect(put.key == Data(key.utf8))
        #expect(put.value == Data(value.utf8))
    }

    @Test(arguments: [
        #"{"range_end":"YQ==","rangeEnd":"Yg=="}"#, #"{"rangeEnd":"Yg==","range_end":"YQ=="}"#,
        #"{"rangeEnd":"YQ==","range_end":"YQ==","rangeEnd":"Yg=="}"#,
    ])
    func `of a field's two spellings lower camel case counts`(text: String) throws {
        #expect(try decoded(text, as: Etcdserverpb_RangeRequest.self).rangeEnd == Data("b".utf8))
    }

    @Test func `line ends that JavaScript alone knows are escaped`() throws {
        let member = Etcdserverpb_Member.with { $0.name = "é\u{2028}a\u{2029}" }
        #expect(try encoded(member) == #"{"name":"é\u2028a\u2029"}"#)
    }

    @Test(arguments: [
        (#"{"lease":5}"#, 5), (#"{"lease":"5"}"#, 5), (#"{"lease":"-0"}"#, 0), (#"{"lease":" 7 "}"#, 7),
        (#"{"lease":9223372036854775807}"#, Int64.max), (#"{"lease":"-9223372036854775808"}"#, Int64.min),
        (#"{"lease":null}"#, 0),
    ])
    func `a number is a number or a string`(text: String, lease: Int64) throws {
        #expect(try decoded(text, as: Etcdserverpb_PutRequest.self).lease == lease)
    }

    @Test(arguments: [
        #"{"lease":1.0}"#, #"{"lease":1e2}"#, #"{"lease":"0x5"}"#, #"{"lease":""}"#, #"{"lease":"x"}"#,
        #"{"lease":true}"#, #"{"lease":01}"#, #"{"lease":99999999999999999999}"#, #"{"lease":"5 5"}"#,
        #"{"prev_kv":"true"}"#, #"{"prev_kv":1}"#, #"{"key":5}"#, #"{"key":["Zm9v"]}"#, #"{"key":{}}"#, "[]", "5",
        #""x""#, #"{'key':1}"#, #"{"key":"Zm9v",}"#, #"{"nope":[{]}"#, #"{"key" "Zm9v"}"#, #"{"nope":tru}"#,
        #"{"nope":"\x"}"#, #"{"nope":"\u12g4"}"#, #"{"nope":1.}"#, #"{"nope":-}"#, "{\"nope\":\"\n\"}",
    ])
    func `what is no put is refused`(text: String) { _ = fault(text, as: Etcdserverpb_PutRequest.self) }

    @Test(arguments: [
        (#"{"key":"Zm9"}"#, 0), (#"{"key":"Zm9vYQ"}"#, 4), (#"{"key":"Zm9_"}"#, 3), (#"{"key":"Z m9v"}"#, 1),
        (#"{"key":"Zg=x"}"#, 2), (#"{"key":"Zg==Zg=="}"#, 4), (#"{"key":"=" }"#, 0), (#"{"key":"Zg="}"#, 3),
    ])
    func `base64 is refused with the place that etcd names`(text: String, place: Int) {
        #expect(fault(text, as: Etcdserverpb_PutRequest.self) == "illegal base64 data at input byte \(place)")
    }

    @Test func `text that ends early is refused in etcd's words`() {
        for text in ["{", #"{"key"#, #"{"key":"#, #"{"key":"Zm9v""#, #"{"nope":[1"#, #"{"nope":tr"#, #"{"nope":"\u12"#]
        {
            #expect(fault(text, as: Etcdserverpb_PutRequest.self) == "unexpected EOF")
        }
    }

    @Test func `an enumeration is a name or a number, and an unknown name is refused in etcd's words`() throws {
        func order(_ text: String) throws -> Etcdserverpb_RangeRequest.SortOrder {
            try decoded("{\"sort_order\":\(text)}", as: Etcdserverpb_RangeRequest.self).sortOrder
        }
        #expect(try order("\"DESCEND\"") == .descend)
        #expect(try order("2") == .descend)
        #expect(try order("77") == .UNRECOGNIZED(77))
        #expect(try order("null") == .none)
        #expect(
            fault(#"{"sort_order":"descend"}"#, as: Etcdserverpb_RangeRequest.self)
                == #"unknown value "\"descend\"" for enum etcdserverpb.RangeRequest.SortOrder"#)
        _ = fault(#"{"sort_order":"2"}"#, as: Etcdserverpb_RangeRequest.self)
        _ = fault(#"{"sort_order":1.0}"#, as: Etcdserverpb_RangeRequest.self)
    }

    @Test func `both spellings of a name are read`() throws {
        let text = #"""
            {"success":[{"requestPut":{"key":"YQ==","prevKv":true}},{"request_range":{"key":"YQ==","rangeEnd":"Yg=="}}],
             "compare":[{"key":"YQ==","target":"MOD","mod_revision":"7"}]}
            """#
        let txn = try decoded(text, as: Etcdserverpb_TxnRequest.self)
        #expect(txn.success.first?.requestPut.prevKv == true)
        #expect(txn.success.last?.requestRange.rangeEnd == Data("b".utf8))
        #expect(txn.compare.first?.modRevision == 7)
    }

    @Test func `of a oneof's fields the one declared last counts, in whatever order they come`() throws {
        let put = #""request_put":{"key":"YQ=="}"#
        let range = #""request_range":{"key":"Yg=="}"#
        for text in ["{\(put),\(range)}", "{\(range),\(put)}"] {
            let op = try decoded(text, as: Etcdserverpb_RequestOp.self)
            #expect(op.requestPut.key == Data("a".utf8))
        }
        let again = try decoded("{\(range),\"request_put\":null}", as: Etcdserverpb_RequestOp.self)
        #expect(again.requestRange.key == Data("b".utf8))
    }

    @Test func `a null among elements is an empty one`() throws {
        #expect(try decoded(#"{"success":[null,{}]}"#, as: Etcdserverpb_TxnRequest.self).success.count == 2)
        #expect(try decoded(#"{"peerURLs":[null,"x"]}"#, as: Etcdserverpb_MemberAddRequest.self).peerUrls == ["", "x"])
    }

    @Test func `what was said before is replaced, also inside longer objects`() throws {
        let text = #"""
            {"compare":[{"key":"YQ=="}],"success":[{"request_put":{"key":"YQ==","value":"YQ=="}}],
             "compare":[{"key":"Yg=="},{"key":"Yw=="}],"success":[]}
            """#
        let txn = try decoded(text, as: Etcdserverpb_TxnRequest.self)
        #expect(txn.compare.map(\.key) == [Data("b".utf8), Data("c".utf8)])
        #expect(txn.success.isEmpty)
    }

    @Test func `depth is bounded, whether it is asked for or passed over`() throws {
        let skipped = "{\"nope\":" + String(repeating: "[", count: 1_000_000)
        #expect(fault(skipped, as: Etcdserverpb_PutRequest.self)?.contains("deeper than 100") == true)
        let nested = String(repeating: #"{"success":[{"request_txn":"#, count: 100_000)
        #expect(fault(nested, as: Etcdserverpb_TxnRequest.self)?.contains("deeper than 100") == true)
        let fine =
            String(repeating: #"{"success":[{"request_txn":"#, count: 33) + "{}" + String(repeating: "}]}", count: 33)
        _ = try decoded(fine, as: Etcdserverpb_TxnRequest.self)
    }

    @Test func `a string's bytes that are no text become the replacement character`() throws {
        let bytes = Array("{\"name\":\"a".utf8) + [0xff] + Array("\\ud800b\"}".utf8)
        let message = try bytes.withUnsafeBytes { try JSONCodec.decode($0, type: "etcdserverpb.AuthUserAddRequest") }
        #expect(try Etcdserverpb_AuthUserAddRequest(serializedBytes: message).name == "a\u{fffd}\u{fffd}b")
    }

    @Test func `maps and optional fields`() throws {
        let acquire = try decoded(
            #"{"name":"YQ==","attributes":{"a":"1","b":"2"},"wait_milliseconds":0}"#, as: Berth_V1_AcquireRequest.self)
        #expect(acquire.attributes == ["a": "1", "b": "2"])
        #expect(acquire.hasWaitMilliseconds)
        #expect(try !decoded("{}", as: Berth_V1_AcquireRequest.self).hasWaitMilliseconds)
        #expect(try encoded(acquire).contains(#""wait_milliseconds":"0""#))
    }

    // MARK: Responses

    @Test func `a response is written as etcd writes it`() throws {
        var response = Etcdserverpb_WatchResponse()
        response.header.revision = 7
        response.header.clusterID = .max
        response.created = true
        response.events = [
            .with { $0.kv.key = Data("foo".utf8) },
            .with {
                $0.type = .delete
                $0.kv.modRevision = -1
            },
        ]
        let expected =
            #"{"header":{"cluster_id":"18446744073709551615","revision":"7"},"created":true,"#
            + #""events":[{"kv":{"key":"Zm9v"}},{"type":"DELETE","kv":{"mod_revision":"-1"}}]}"#
        #expect(try encoded(response) == expected)
        #expect(try encoded(Etcdserverpb_DefragmentResponse()) == "{}")
        #expect(try encoded(Etcdserverpb_HashKVResponse.with { $0.hash = .max }) == #"{"hash":4294967295}"#)
        #expect(
            try encoded(Etcdserverpb_AuthRoleListResponse.with { $0.roles = ["a\"\\<\n\u{1}é"] })
                == #"{"roles":["a\"\\\u003c\n\u0001é"]}"#)
        #expect(
            try encoded(Etcdserverpb_TxnResponse.with { $0.responses = [.with { $0.responseTxn.header = .init() }] })
                == #"{"responses":[{"response_txn":{"header":{}}}]}"#)
    }

    @Test func `fields are written in order of declaration, whatever order they came in`() throws {
        let revision: [UInt8] = [0x18, 5]
        let cluster: [UInt8] = [0x08, 3]
        let unknown: [UInt8] = [0x7a, 1, 65]
        let text = try (revision + unknown + cluster).withUnsafeBytes {
            try JSONCodec.encode($0, type: "etcdserverpb.ResponseHeader")
        }
        #expect(String(decoding: text, as: UTF8.self) == #"{"cluster_id":"3","revision":"5"}"#)
    }

    @Test func `bytes that are no message are an error, not a crash`() {
        for bytes: [UInt8] in [[0x0a, 5], [0x0b], [0xff], [0x08], [0x0d, 1, 2, 3, 4], [0x12, 0x7f, 0]] {
            #expect(throws: (any Error).self) {
                try bytes.withUnsafeBytes { try JSONCodec.encode($0, type: "etcdserverpb.RangeResponse") }
            }
        }
    }

    // MARK: Both ways

    /// SwiftProtobuf's JSON is another writer and reader of the same rules.
    @Test(arguments: Seeds.all)
    func `random messages read and write as SwiftProtobuf's do`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var options = JSONEncodingOptions()
        options.preserveProtoFieldNames = true
        for _ in 0..<300 {
            func data() -> Data {
                Data((0..<Int.random(in: 0...9, using: &random)).map { _ in .random(in: 0...255, using: &random) })
            }
            func number() -> Int64 { Bool.random(using: &random) ? 0 : .random(in: .min ... .max, using: &random) }
            var txn = Etcdserverpb_TxnRequest()
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                txn.compare.append(
                    .with {
                        $0.key = data()
                        $0.target = .lease
                        $0.lease = number()
                        $0.result = .notEqual
                    })
                txn.success.append(
                    .with {
                        $0.requestPut.key = data()
                        $0.requestPut.value = data()
                        $0.requestPut.lease = number()
                        $0.requestPut.ignoreLease = Bool.random(using: &random)
                    })
                txn.failure.append(
                    .with {
                        $0.requestRange.key = data()
                        $0.requestRange.sortTarget = .mod
                        $0.requestRange.maxModRevision = number()
                    })
            }
            let ours = try encoded(txn)
            #expect(try Etcdserverpb_TxnRequest(jsonString: ours) == txn)
            let theirs = try txn.jsonString(options: options)
            #expect(try decoded(theirs, as: Etcdserverpb_TxnRequest.self) == txn)
            let camel: String = try txn.jsonString()
            #expect(try decoded(camel, as: Etcdserverpb_TxnRequest.self) == txn)
        }
    }

    @Test(arguments: Seeds.all)
    func `damaged JSON is read or refused, never more`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let good = Array(
            #"{"compare":[{"key":"YQ==","target":"MOD","mod_revision":"7"}],"success":[{"request_put":{"key":"\u0059Q==","prevKv":true}}]}"#
                .utf8)
        for _ in 0..<2_000 {
            var text = good
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let place = Int.random(in: 0..<text.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: text[place] = .random(in: 0...255, using: &random)
                case 1: text.remove(at: place)
                default: text.insert(contentsOf: good.prefix(.random(in: 0...20, using: &random)), at: place)
                }
            }
            let message: [UInt8]
            do {
                message = try text.withUnsafeBytes { try JSONCodec.decode($0, type: "etcdserverpb.TxnRequest") }
            } catch {
                continue
            }
            _ = try Etcdserverpb_TxnRequest(serializedBytes: message)
        }
    }
}
