import EtcdAPI
import FoundationEssentials
import GRPCTransport
import StateMachine
import Store
import SwiftProtobuf
import Vocabulary

extension Berth_V1_Handle {
    init(_ place: EnteredPlace, name: [UInt8]) {
        self.init()
        self.name = Data(name)
        key = Data(place.key)
        token = place.token.value
        lease = place.lease.value
        ttl = place.timeToLive
    }
}

// What several methods of `berth.v1` do with places.
extension ServerContext {
    /// Longest value that is shown with a place in a list.
    private static let shownValueBytes = 1_024

    /// A place as others are shown it, with what is left of its lease.
    func place(_ report: PlaceReport) throws(EtcdError) -> Berth_V1_Place {
        var place = try storedPlace(report.record.encoded())
        place.holds = report.holds
        place.ahead = Int64(report.ahead)
        place.ttl = report.timeToLive
        return place
    }

    /// A place from what is stored of it.
    func storedPlace(_ encoded: [UInt8]) throws(EtcdError) -> Berth_V1_Place {
        guard var place = try? Berth_V1_Place(serializedBytes: encoded) else {
            throw .internalError("a stored place does not decode")
        }
        place.unknownFields = UnknownStorage()
        place.remainingMilliseconds = keeper.remaining(LeaseID(place.lease))?.milliseconds ?? 0
        if let record = try readRecord(of: [UInt8](place.key)), record.createRevision.value == place.token {
            let value = try readValue(of: record)
            if value.count <= Self.shownValueBytes { place.value = Data(value) }
        }
        return place
    }

    /// The one who stands in a caller's way: as told with the refusal, or the head of the line now.
    func holder(
        of name: [UInt8], _ late: EnteredPlace,
        _ completion: @escaping (Result<(holder: Berth_V1_Place?, revision: Revision), EtcdError>) -> Void
    ) {
        let context = self
        if let holder = late.holder {
            return completion(
                Result { () throws(EtcdError) in
                    var place = try context.storedPlace(holder)
                    place.holds = true
                    return (place, late.revision)
                })
        }
        ask {
            $0.report(line: name, limit: 1)
        } _: { result in
            completion(
                result.flatMap { report in
                    Result { () throws(EtcdError) in
                        (
                            try report.places.first.map { (place) throws(EtcdError) in try context.place(place) },
                            report.revision
                        )
                    }
                })
        }
    }

    /// What a release came to.
    enum Released {
        /// The place ended by it: the encoded `berth.v1.ReleaseResponse`.
        case now([UInt8])
        /// It had ended before.
        case before(Berth_V1_ReleaseResponse)
    }

    /// Ends a place; tells how it had ended if it was gone.
    func release(
        key: [UInt8], token: Revision, for author: Author?,
        _ completion: @escaping (Result<Released, EtcdError>) -> Void
    ) {
        let payload = ReleaseView.encoded(key: key, token: token, at: Self.wallClock())
        propose(.lockRelease, payload, for: author) { result in
            switch result {
            case .response(let bytes):
                guard !BerthResponse.saysReleased(bytes) else { return completion(.success(.now(bytes))) }
                completion(
                    Result { () throws(EtcdError) in
                        guard var response = try? Berth_V1_ReleaseResponse(serializedBytes: bytes) else {
                            throw .internalError("the state machine's answer is malformed")
                        }
                        if let ended = try self.end(ofPlace: key, token: token) { response.ended = ended }
                        return .before(response)
                    })
            case .failure(let error): completion(.failure(error))
            case .entered, .skipped: preconditionFailure("a release is answered with a message")
            }
        }
    }

    /// How a place ended, as far as history tells; nil when it does not, or the place was never there.
    private func end(ofPlace key: [UInt8], token: Revision) throws(EtcdError) -> Berth_V1_Event? {
        try store.readingEtcdErrors { snapshot in
            guard let end = try snapshot.deletion(of: key, createdAt: token) else { return nil }
            var found: Berth_V1_Event?
            try LineHistory.forEachRevision(from: end, in: snapshot) { _, events in
                let event = events.first { $0.token == token && $0.key == key && $0.kind.isEnd }
                found = try event.map { try Berth_V1_Event(serializedBytes: $0.encoded) }
                return .stop
            }
            return found
        }
    }

    /// The lease a place hangs on.
    ///
    /// - Throws: `.placeLost` when it is gone.
    func leaseOfPlace(key: [UInt8], token: Revision) throws(EtcdError) -> LeaseID {
        guard let record = try readRecord(of: key), record.createRevision == token, record.lease != .none else {
            throw .placeLost
        }
        return record.lease
    }

    private func readRecord(of key: [UInt8]) throws(EtcdError) -> KeyRecord? {
        try store.readingEtcdErrors { snapshot in
            try key.withUnsafeBytes { try snapshot.record(of: $0, at: snapshot.revision) }
        }
    }

    /// The value a key had with a record.
    private func readValue(of record: KeyRecord) throws(EtcdError) -> [UInt8] {
        try store.readingEtcdErrors { [UInt8](try KeyValueView(try $0.keyValue(of: record)).value) }
    }

    /// The value a key had at a revision; nil when it did not exist.
    func value(of key: [UInt8], at revision: Revision) throws(EtcdError) -> [UInt8]? {
        try store.readingEtcdErrors { snapshot in
            let record = try key.withUnsafeBytes { try snapshot.record(of: $0, at: revision) }
            return try record.map { [UInt8](try KeyValueView(try snapshot.keyValue(of: $0)).value) }
        }
    }
}

extension LineEventKind {
    /// The place is gone since.
    var isEnd: Bool {
        switch self {
        case .released, .expired, .gaveUp, .broken: true
        case .queued, .acquired, .proclaimed, .moved: false
        }
    }
}
