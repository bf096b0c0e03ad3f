import EtcdAPI
import ProtobufWire
import SwiftProtobuf
import Vocabulary

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

// What each of our readers understood, as the generated message that says the same.

extension PutRequestView {
    static func read(_ bytes: UnsafeRawBufferPointer) throws(WireError) -> Etcdserverpb_PutRequest {
        try Self(bytes).message
    }

    var message: Etcdserverpb_PutRequest {
        .with {
            $0.key = Data(key)
            $0.value = Data(value)
            $0.lease = lease.value
            $0.prevKv = wantsPrevious
            $0.ignoreValue = ignoresValue
            $0.ignoreLease = ignoresLease
        }
    }
}

extension RangeRequestView {
    static func read(_ bytes: UnsafeRawBufferPointer) throws(WireError) -> Etcdserverpb_RangeRequest {
        try Self(bytes).message
    }

    var message: Etcdserverpb_RangeRequest {
        .with {
            $0.key = Data(key)
            $0.rangeEnd = Data(rangeEnd)
            $0.limit = limit
            $0.revision = revision
            $0.sortOrder = enumeration(rawSortOrder)
            $0.sortTarget = enumeration(rawSortTarget)
            $0.serializable = isSerializable
            $0.keysOnly = keysOnly
            $0.countOnly = countOnly
            $0.minModRevision = minModRevision
            $0.maxModRevision = maxModRevision
            $0.minCreateRevision = minCreateRevision
            $0.maxCreateRevision = maxCreateRevision
        }
    }
}

extension DeleteRangeRequestView {
    static func read(_ bytes: UnsafeRawBufferPointer) throws(WireError) -> Etcdserverpb_DeleteRangeRequest {
        try Self(bytes).message
    }

    var message: Etcdserverpb_DeleteRangeRequest {
        .with {
            $0.key = Data(key)
            $0.rangeEnd = Data(rangeEnd)
            $0.prevKv = wantsPrevious
        }
    }
}

extension TxnRequestView {
    static func read(_ bytes: UnsafeRawBufferPointer) throws(WireError) -> Etcdserverpb_TxnRequest {
        try Self(bytes).message
    }

    var message: Etcdserverpb_TxnRequest {
        .with {
            $0.compare = compares.map(\.message)
            $0.success = success.map(\.message)
            $0.failure = failure.map(\.message)
        }
    }
}

extension RequestOpView {
    var message: Etcdserverpb_RequestOp {
        .with {
            switch self {
            case .range(let request): $0.requestRange = request.message
            case .put(let request): $0.requestPut = request.message
            case .deleteRange(let request): $0.requestDeleteRange = request.message
            case .txn(let request): $0.requestTxn = request.message
            case .empty: break
            }
        }
    }
}

extension CompareView {
    var message: Etcdserverpb_Compare {
        .with {
            $0.result = enumeration(rawResult)
            $0.target = enumeration(rawTarget)
            $0.key = Data(key)
            $0.rangeEnd = Data(rangeEnd)
            $0.targetUnion = comparedWith(number: number, value: Data(value))
        }
    }
}

/// The view says what is compared with, and not which arm was sent when that is not the target's: then it is nothing.
private func comparedWith(number: Int64, value: Data) -> Etcdserverpb_Compare.OneOf_TargetUnion? {
    if !value.isEmpty { return .value(value) }
    return number == 0 ? nil : .version(number)
}

extension Etcdserverpb_TxnRequest {
    /// The same, with every `target_union` as `CompareView` shows it.
    var meaning: Self {
        var message = self
        for i in compare.indices { message.compare[i].targetUnion = compare[i].meaning }
        for i in success.indices { message.success[i] = success[i].meaning }
        for i in failure.indices { message.failure[i] = failure[i].meaning }
        return message
    }
}

extension Etcdserverpb_RequestOp {
    fileprivate var meaning: Self {
        guard case .requestTxn(let nested) = request else { return self }
        return .with { $0.requestTxn = nested.meaning }
    }
}

extension Etcdserverpb_Compare {
    fileprivate var meaning: OneOf_TargetUnion? {
        switch (target, targetUnion) {
        case (_, .value(let value)): comparedWith(number: 0, value: value)
        case (.version, .version(let number)), (.create, .createRevision(let number)),
            (.mod, .modRevision(let number)), (.lease, .lease(let number)):
            comparedWith(number: number, value: Data())
        default: nil
        }
    }
}

extension CompactionRequestView {
    static func read(_ bytes: UnsafeRawBufferPointer) throws(WireError) -> Etcdserverpb_CompactionRequest {
        try Self(bytes).message
    }

    var message: Etcdserverpb_CompactionRequest {
        .with {
            $0.revision = revision
            $0.physical = isPhysical
        }
    }
}

extension LeaseGrantRequestView {
    static func read(_ bytes: UnsafeRawBufferPointer) throws(WireError) -> Etcdserverpb_LeaseGrantRequest {
        try Self(bytes).message
    }

    var message: Etcdserverpb_LeaseGrantRequest {
        .with {
            $0.id = id.value
            $0.ttl = timeToLive
        }
    }
}

extension LeaseIDRequestView {
    static func read(_ bytes: UnsafeRawBufferPointer) throws(WireError) -> Etcdserverpb_LeaseRevokeRequest {
        try Self(bytes).message
    }

    var message: Etcdserverpb_LeaseRevokeRequest { .with { $0.id = id.value } }
}

extension AlarmRequestView {
    static func read(_ bytes: UnsafeRawBufferPointer) throws(WireError) -> Etcdserverpb_AlarmRequest {
        try Self(bytes).message
    }

    var message: Etcdserverpb_AlarmRequest {
        .with {
            $0.action = enumeration(rawAction)
            $0.memberID = memberID
            $0.alarm = enumeration(alarm)
        }
    }
}

/// The case with a number, `UNRECOGNIZED` for one that has no name.
private func enumeration<Value: SwiftProtobuf.Enum>(_ number: Int64) -> Value where Value.RawValue == Int {
    guard let value = Value(rawValue: Int(number)) else { preconditionFailure("an open enumeration has every number") }
    return value
}
