import ProtobufWire
package import Vocabulary

/// Why a log and a store do not belong together.
package enum LogReferenceError: Error, CustomStringConvertible {
    case damaged
    case foreignCluster(log: UInt64, store: UInt64)
    case storeBehindLog(logStart: RaftIndex, storeApplied: RaftIndex)

    package var description: String {
        switch self {
        case .damaged:
            "the log's snapshot reference is damaged; restore the data folder from a backup"
        case .foreignCluster(let log, let store):
            """
            the log belongs to cluster \(String(log, radix: 16)), the store to cluster \(String(store, radix: 16)); \
            put the log and base folders of one data folder back together
            """
        case .storeBehindLog(let logStart, let storeApplied):
            """
            the log starts after entry \(logStart) but the store holds entries up to \(storeApplied) only; \
            the store is older than its log: restore both from one backup
            """
        }
    }
}

/// What libraft keeps as its snapshot: no data, only the statement that the store holds everything up to an index.
package struct LogReference: Equatable {
    package let clusterID: UInt64
    package let appliedIndex: RaftIndex

    package init(clusterID: UInt64, appliedIndex: RaftIndex) {
        self.clusterID = clusterID
        self.appliedIndex = appliedIndex
    }

    /// - Throws: when a store cannot take up the log behind this checkpoint.
    package func check(_ identity: MemberIdentity, appliedIndex stored: RaftIndex) throws(LogReferenceError) {
        guard clusterID == identity.clusterID else {
            throw .foreignCluster(log: clusterID, store: identity.clusterID)
        }
        guard appliedIndex <= stored else { throw .storeBehindLog(logStart: appliedIndex, storeApplied: stored) }
    }

    package var encoded: [UInt8] {
        var writer = WireWriter(capacity: 24)
        writer.uint64Field(1, clusterID)
        writer.uint64Field(2, appliedIndex.value)
        return writer.bytes
    }

    package init(decoding bytes: [UInt8]) throws(LogReferenceError) {
        var cluster: UInt64 = 0
        var applied: UInt64 = 0
        do {
            try bytes.withUnsafeBytes { buffer in
                var reader = WireReader(buffer)
                while let field = try reader.nextField() {
                    switch field.field {
                    case 1: cluster = try reader.varint(of: field)
                    case 2: applied = try reader.varint(of: field)
                    default: try reader.skip(field)
                    }
                }
            }
        } catch {
            throw .damaged
        }
        guard cluster != 0, applied != 0 else { throw .damaged }
        self.init(clusterID: cluster, appliedIndex: RaftIndex(applied))
    }
}
