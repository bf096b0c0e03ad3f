import EtcdAPI
import StateMachine
import Store
import TestSupport
import Testing
import Vocabulary

/// A log as it might have grown.
private func randomLog(seed: UInt64, entries: Int) -> [(kind: CommandKind, request: Bytes)] {
    var requests = RandomRequests(seed: seed)
    return (0..<entries).map { position in
        requests.revision = Int64(position / 2 + 1)
        switch requests.number(0...25) {
        case 0...7: return (.put, requests.put().encoded)
        case 8...10: return (.deleteRange, requests.delete().encoded)
        case 11...14: return (.txn, requests.txn(depth: 1).encoded)
        case 15, 16: return (.leaseGrant, numbers(requests.number(1...99), requests.number(1...4)))
        case 17: return (.leaseRevoke, numbers(requests.number(1...5)))
        case 18: return (.alarm, numbers(requests.number(1...2), 9, requests.number(0...2)))
        case 19...22:
            let lease = requests.number(1...4)
            var acquire = AcquireMessage("k\(requests.number(0...2))", lease: lease)
            acquire.ttl = requests.number(0...1) * 10
            acquire.mode = LockMode(rawValue: requests.number(0...2)) ?? .exclusive
            acquire.permits = acquire.mode == .permit ? requests.number(1...3) : 0
            acquire.waitMilliseconds = requests.number(0...2) == 0 ? 0 : nil
            acquire.origin = AcquireView.Origin(rawValue: requests.number(0...2)) ?? .lock
            return (.lockAcquire, acquire.encoded)
        case 23:
            let key = "k\(requests.number(0...2))/\(requests.number(1...4))"
            let token = Revision(requests.number(1...Int64(position + 2)))
            return (.lockRelease, ReleaseView.encoded(key: Array(key.utf8), token: token, at: 3))
        case 24: return (.leaseExpire, LeaseExpiryView.encoded(id: LeaseID(requests.number(1...5)), at: 4))
        default: return (.compaction, numbers(requests.revision / 2))
        }
    }
}

extension ApplyResult {
    /// The response's bytes or the error's text; nil when the entry was passed over.
    fileprivate var text: String? {
        switch self {
        case .response(let bytes): "\(bytes)"
        case .failure(let error): error.message
        case .entered(let place): "\(place)"
        case .skipped: nil
        }
    }
}

@Suite struct ReplayTests {
    @Test(arguments: Seeds.all)
    func `the same entries give the same answers and the same store, however they are batched`(seed: UInt64) throws {
        let log = randomLog(seed: seed, entries: 1_500)
        var random = SeededGenerator(seed: seed)
        let (one, other) = (try Machine(), try Machine())
        for (kind, request) in log {
            let first = try one.applyOpen(kind, request)
            try one.commit()
            let second = try other.applyOpen(kind, request)
            if Int.random(in: 0..<20, using: &random) == 0 {
                try other.commit()
                if Bool.random(using: &random) { _ = other.store.writer.seal() }
            }
            try #require(first.text == second.text)
        }
        try other.commit()
        #expect(try one.hash == other.hash)
        #expect(one.machine.leases.all().map(\.id) == other.machine.leases.all().map(\.id))
    }

    @Test(arguments: Seeds.all)
    func `a replay after a crash passes over what base holds and ends in the same state`(seed: UInt64) throws {
        let log = randomLog(seed: seed, entries: 1_000)
        var random = SeededGenerator(seed: seed)
        let (steady, crashing) = (try Machine(), try Machine())
        var answers: [String?] = []
        for (kind, request) in log {
            answers.append(try steady.applyOpen(kind, request).text)
            try steady.commit()
        }
        for crash in 1...4 {
            var passedOver = 0
            let last = crash == 4 ? log.count : Int.random(in: 1...log.count, using: &random)
            let durable = Int(crashing.store.writer.appliedIndex.value)
            for (position, entry) in log[..<max(last, durable)].enumerated() {
                let answer = try crashing.applyOpen(entry.kind, entry.request).text
                if position < durable {
                    try #require(answer == nil)
                    passedOver += 1
                } else {
                    try #require(answer == answers[position])
                }
                if Int.random(in: 0..<10, using: &random) == 0 { try crashing.commit() }
                if Int.random(in: 0..<200, using: &random) == 0 {
                    try crashing.commit()
                    if crashing.store.writer.seal() {
                        try crashing.store.flushSealed(upTo: crashing.store.writer.appliedIndex)
                    }
                }
            }
            try crashing.commit()
            #expect(passedOver == durable)
            if crash < 4 { try crashing.crash() }
        }
        #expect(try crashing.hash == steady.hash)
        for (id, seconds) in steady.machine.leases.all() {
            #expect(crashing.machine.leases.timeToLive(id) == seconds)
            #expect(crashing.machine.leases.keys(of: id) == steady.machine.leases.keys(of: id))
        }
        #expect(crashing.machine.alarms.list() == steady.machine.alarms.list())
    }
}
