import EtcdAPI
import StateMachine
import Store
import TestSupport
import Testing
import Vocabulary

@Suite struct LeaseJudgementTests {
    private func key(_ number: Int) -> Bytes { utf8("k\(number)") }

    @Test func `to attach many keys one by one takes a look at each, for several users at once`() {
        let table = LeaseTable()
        table.grant(LeaseID(1), timeToLiveSeconds: 100)
        var looks = 0
        let users: [AuthName] = ["ann", "bob", "cid"]
        for number in 0..<5_000 {
            for user in users {
                #expect(
                    table.judge(LeaseID(1), for: user, authRevision: 3, longest: .max) { _ in
                        looks += 1
                        return true
                    })
            }
            table.attach(key(number), to: LeaseID(1), .init(revision: Revision(Int64(number) + 2), sub: 0))
        }
        // Few keys are looked at anew each time; from then on each once a user.
        #expect(looks < users.count * (5_000 + 64 * 65))
    }

    @Test func `an early look leaves a long lease to apply, unless it was judged before`() {
        let table = LeaseTable()
        table.grant(LeaseID(1), timeToLiveSeconds: 100)
        for number in 0..<1_000 {
            table.attach(key(number), to: LeaseID(1), .init(revision: Revision(Int64(number) + 2), sub: 0))
        }
        var looks = 0
        func judge(_ longest: Int) -> Bool {
            table.judge(LeaseID(1), for: "ann", authRevision: 3, longest: longest) { _ in
                looks += 1
                return false
            }
        }
        #expect(judge(256))
        #expect(looks == 0)
        #expect(!judge(.max))
        #expect(!judge(256))
        #expect(looks == 1)
    }

    @Test(arguments: Seeds.all)
    func `judgements are those of a look at every key`(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let table = LeaseTable()
        table.grant(LeaseID(1), timeToLiveSeconds: 100)
        var keys: Set<Int> = []
        var number = 0
        var revision = 1
        // Ann may write all keys; Bob those that no hundredth number names, and from the odd revisions on all.
        func permits(_ user: AuthName, _ key: Bytes) -> Bool {
            user == "ann" || revision % 2 == 1 || !key.suffix(2).elementsEqual(utf8("00"))
        }
        for _ in 0..<400 {
            switch Int.random(in: 0..<100, using: &random) {
            case 0: revision += 1
            case 1:
                // Gone and granted anew, at times with keys at once.
                _ = table.revoke(LeaseID(1))
                if Bool.random(using: &random) { keys = [] }
                table.grant(LeaseID(1), timeToLiveSeconds: 100)
                for key in keys { table.attach(self.key(key), to: LeaseID(1), .init(revision: Revision(9), sub: 0)) }
            case 2..<25:
                guard let gone = keys.randomElement(using: &random) else { continue }
                keys.remove(gone)
                _ = table.detach(key(gone), from: LeaseID(1))
            case 25..<27:
                let burst = Int.random(in: 0..<1_500, using: &random)
                for _ in 0..<burst {
                    number += 1
                    keys.insert(number)
                    table.attach(key(number), to: LeaseID(1), .init(revision: Revision(Int64(number)), sub: 0))
                }
            default:
                let hundreds = keys.filter { $0 % 100 == 0 }
                // Most of what is denied goes again, so that both answers come.
                if Bool.random(using: &random) {
                    for gone in hundreds {
                        keys.remove(gone)
                        _ = table.detach(key(gone), from: LeaseID(1))
                    }
                }
                for user in ["ann", "bob"] as [AuthName] {
                    let judged = table.judge(LeaseID(1), for: user, authRevision: UInt64(revision), longest: .max) {
                        permits(user, $0)
                    }
                    #expect(judged == keys.allSatisfy { permits(user, key($0)) })
                }
            }
        }
    }

    @Test func `with many keys too they decide who may use and end a lease`() throws {
        let machine = try Machine()
        try machine.turnAuthOn()
        let (root, ann) = (machine.now(.root), machine.now("ann"))
        try machine.grant(1)
        for number in 0..<100 { try machine.apply(.put, PutMessage("a\(number)", lease: 1).encoded, for: ann) }
        try machine.apply(.put, PutMessage("other", lease: 1).encoded, for: root)
        #expect(throws: EtcdError.permissionDenied) {
            try machine.apply(.put, PutMessage("a", lease: 1).encoded, for: ann)
        }
        #expect(throws: EtcdError.userEmpty) { try machine.apply(.leaseRevoke, numbers(1)) }
        try machine.apply(.deleteRange, DeleteMessage("other").encoded, for: root)
        try machine.apply(.put, PutMessage("a", lease: 1).encoded, for: ann)
        try machine.apply(.leaseRevoke, numbers(1), for: ann)
    }
}
