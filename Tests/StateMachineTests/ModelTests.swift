import EtcdAPI
import StateMachine
import Store
import TestSupport
import Testing
import Vocabulary

/// Runs a request, with what refused it as a value.
private func outcome<Reply>(_ body: () throws -> Reply) throws -> Result<Reply, EtcdError> {
    do { return .success(try body()) } catch let error as EtcdError { return .failure(error) }
}

/// Refusals of a request's shape, which the model does not judge.
private let shapeErrors: Set<EtcdError> = [.duplicateKey, .tooManyOperations]

@Suite struct ModelTests {
    @Test(arguments: Seeds.all)
    func `any sequence of requests is answered as a naive model of etcd answers it`(seed: UInt64) throws {
        var requests = RandomRequests(seed: seed)
        var model = Model()
        let machine = try Machine()
        var events: [Model.Event] = []
        for step in 0..<3_000 {
            requests.revision = model.revision
            let note: Comment = "step \(step)"
            switch requests.number(0...99) {
            case 0...29:
                let request = requests.put()
                try #require(try outcome { try machine.put(request) } == model.put(request), note)
            case 30...39:
                let request = requests.delete()
                try #require(try outcome { try machine.delete(request) } == model.delete(request), note)
            case 40...59:
                let request = requests.range()
                try #require(try outcome { try machine.range(request) } == model.range(request), note)
            case 60...89:
                let request = requests.txn(depth: 2)
                let result = try outcome { try machine.txn(request) }
                if case .failure(let error) = result, shapeErrors.contains(error) { break }
                try #require(result == model.txn(request), note)
            case 90...93:
                let (id, seconds) = (requests.number(1...4), requests.number(-1...100))
                let result = try outcome { try machine.grant(id, seconds: seconds).numbers[3] ?? 0 }
                try #require(result == model.grant(id, seconds: seconds), note)
            case 94...96:
                let id = requests.number(1...5)
                try #require(try outcome { try machine.revoke(id).header?.revision ?? 0 } == model.revoke(id), note)
            case 97:
                let revision = requests.number((model.revision - 5)...(model.revision + 1))
                let result = try outcome { try machine.compact(revision).header?.revision ?? 0 }
                try #require(result == model.compact(revision), note)
            default:
                _ = machine.store.writer.seal()
            }
            try #require(machine.machine.counts[.keys] == model.live.count, note)
            if let batch = machine.lastBatch, batch.lastRevision.value > events.last?.revision ?? 1 {
                try events += #require(batch.events).all
                try #require(events.last == model.events.last, note)
            }
        }
        #expect(events == model.events)
        let leases = machine.machine.leases
        #expect(leases.all().map(\.id.value) == model.leases.keys.sorted())
        for (id, seconds) in model.leases {
            #expect(leases.timeToLive(LeaseID(id)) == seconds)
            #expect(leases.keys(of: LeaseID(id)) == model.keys(of: id))
        }
    }
}

extension EventBatch {
    /// The changes as values.
    fileprivate var all: [Model.Event] {
        get throws {
            var events: [Model.Event] = []
            var failure: (any Error)?
            forEach { event in
                do {
                    let kv = try KV(event.keyValue)
                    if kv.key != Array(event.key) || event.isCreation != (kv.version == 1) {
                        throw UnexpectedField(number: -2)
                    }
                    events.append(
                        Model.Event(
                            revision: event.revision.value, sub: event.sub, kv: kv, isDeletion: event.isDeletion))
                } catch {
                    failure = error
                }
            }
            if let failure { throw failure }
            return events
        }
    }
}
