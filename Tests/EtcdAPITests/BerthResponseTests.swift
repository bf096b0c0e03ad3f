import EtcdAPI
import FoundationEssentials
import SwiftProtobuf
import TestSupport
import Testing
import Vocabulary

/// `berth.v1`'s hand-made encodings equal the generated ones, and its views read what clients send.
@Suite struct BerthResponseTests {
    private func full(_ header: Etcdserverpb_ResponseHeader) -> ResponseHeader {
        let identity = MemberIdentity(clusterID: header.clusterID, memberID: header.memberID)
        return ResponseHeaderTemplate(identity).header(
            revision: Revision(header.revision), term: RaftTerm(header.raftTerm))
    }

    @Test(arguments: Seeds.all)
    func `answers to acquire and release`(seed: UInt64) throws {
        var messages = RandomMessages(seed: seed)
        for _ in 0..<300 {
            let header = messages.header()
            let acquired = Berth_V1_AcquireResponse.with {
                $0.header = header
                $0.acquired = true
                $0.handle.name = Data("order:123".utf8)
                $0.handle.key = Data("order:123/1f".utf8)
                $0.handle.token = .random(in: 1...Int64.max, using: &messages.random)
                $0.handle.lease = .random(in: Int64.min...Int64.max, using: &messages.random)
                $0.handle.ttl = .random(in: 0...100, using: &messages.random)
                $0.waitedMilliseconds = .random(in: 0...1, using: &messages.random)
                $0.ahead = .random(in: 0...1, using: &messages.random)
            }
            let written = BerthResponse.acquired(
                header: full(header), name: [UInt8](acquired.handle.name), key: [UInt8](acquired.handle.key),
                token: Revision(acquired.handle.token), lease: LeaseID(acquired.handle.lease),
                timeToLive: acquired.handle.ttl, waitedMilliseconds: acquired.waitedMilliseconds,
                ahead: Int(acquired.ahead))
            #expect(try Berth_V1_AcquireResponse(serializedBytes: written) == acquired)
            for isReleased in [false, true] {
                let released = BerthResponse.released(header: full(header), isReleased)
                let decoded = try Berth_V1_ReleaseResponse(serializedBytes: released)
                #expect(decoded.header == header && decoded.released == isReleased)
                #expect(BerthResponse.saysReleased(released) == isReleased)
            }
        }
    }

    @Test func `what the server adds to a request counts, whatever the client sent in those fields`() throws {
        var request = Berth_V1_AcquireRequest()
        request.name = Data("job".utf8)
        request.ttl = 10
        request.lease = 5
        request.waitMilliseconds = 0
        request.mode = .permit
        request.permits = 3
        request.guards = [
            .with { $0.key = Data("a".utf8) },
            .with {
                $0.key = Data("b".utf8); $0.rangeEnd = Data([0])
            },
        ]
        request.owner = "worker"
        request.attributes = ["host": "one"]
        // A client that plays the server: fields 100 to 102.
        let forged = AcquireView.suffix(lease: LeaseID(9), at: 99, origin: .etcd, value: [9])
        let bytes = try request.serializedBytes() as [UInt8] + forged
        let stored = bytes + AcquireView.suffix(lease: LeaseID(7), at: 1, origin: .lock)
        try stored.withUnsafeBytes { buffer in
            let view = try AcquireView(buffer)
            #expect(view.name.elementsEqual("job".utf8) && view.owner.elementsEqual("worker".utf8))
            #expect(view.lease == LeaseID(7) && view.at == 1 && view.origin == .lock && view.value.isEmpty)
            #expect(view.timeToLive == 10 && view.triesOnce && view.mode == .permit && view.permits == 3)
            #expect(view.guards.map { [UInt8]($0.key) } == [[97], [98]])
            #expect(view.guards.map { [UInt8]($0.rangeEnd) } == [[], [0]])
            #expect(view.attributes.count == 1)
        }
    }

    @Test func `a release names the claim it gives up only if it gives one up`() throws {
        let own = ReleaseView.encoded(key: [1], token: Revision(4), at: 6)
        let givenUp = ReleaseView.encoded(key: [1], token: Revision(4), at: 6, claim: 0)
        #expect(try own.withUnsafeBytes { try ReleaseView($0).claim } == nil)
        #expect(try givenUp.withUnsafeBytes { try ReleaseView($0).claim } == 0)
    }
}
