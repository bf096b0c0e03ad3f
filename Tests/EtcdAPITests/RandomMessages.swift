import EtcdAPI
import SwiftProtobuf
import TestSupport

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Generated messages with random contents: defaults often, extremes sometimes.
struct RandomMessages {
    var random: SeededGenerator

    init(seed: UInt64) { random = SeededGenerator(seed: seed) }

    mutating func bool() -> Bool { Bool.random(using: &random) }

    mutating func number() -> Int64 {
        switch Int.random(in: 0..<6, using: &random) {
        case 0: 0
        case 1: .random(in: -3...3, using: &random)
        case 2: .max
        case 3: .min
        default: .random(in: 0...(1 << Int64.random(in: 1...62, using: &random)), using: &random)
        }
    }

    mutating func data(_ longest: Int = 300) -> Data {
        let count = bool() ? 0 : Int.random(in: 0...longest, using: &random)
        return Data((0..<count).map { _ in UInt8.random(in: 0...255, using: &random) })
    }

    mutating func enumeration<Value: SwiftProtobuf.Enum & CaseIterable>(_: Value.Type) -> Value {
        // Numbers no one has given a meaning to come over the wire too.
        if Int.random(in: 0..<8, using: &random) == 0, let value = Value(rawValue: 77) { return value }
        return Value.allCases.randomElement(using: &random) ?? Value()
    }

    mutating func keyValue() -> Mvccpb_KeyValue {
        .with {
            $0.key = data()
            $0.createRevision = number()
            $0.modRevision = number()
            $0.version = number()
            $0.value = data(20_000)
            $0.lease = number()
        }
    }

    mutating func header() -> Etcdserverpb_ResponseHeader {
        .with {
            $0.clusterID = UInt64(bitPattern: number())
            $0.memberID = UInt64(bitPattern: number())
            $0.revision = number()
            $0.raftTerm = UInt64(bitPattern: number())
        }
    }

    mutating func put() -> Etcdserverpb_PutRequest {
        .with {
            $0.key = data()
            $0.value = data()
            $0.lease = number()
            $0.prevKv = bool()
            $0.ignoreValue = bool()
            $0.ignoreLease = bool()
        }
    }

    mutating func range() -> Etcdserverpb_RangeRequest {
        .with {
            $0.key = data()
            $0.rangeEnd = data()
            $0.limit = number()
            $0.revision = number()
            $0.sortOrder = enumeration(Etcdserverpb_RangeRequest.SortOrder.self)
            $0.sortTarget = enumeration(Etcdserverpb_RangeRequest.SortTarget.self)
            $0.serializable = bool()
            $0.keysOnly = bool()
            $0.countOnly = bool()
            $0.minModRevision = number()
            $0.maxModRevision = number()
            $0.minCreateRevision = number()
            $0.maxCreateRevision = number()
        }
    }

    mutating func deleteRange() -> Etcdserverpb_DeleteRangeRequest {
        .with {
            $0.key = data()
            $0.rangeEnd = data()
            $0.prevKv = bool()
        }
    }

    mutating func compare() -> Etcdserverpb_Compare {
        .with {
            $0.result = enumeration(Etcdserverpb_Compare.CompareResult.self)
            $0.target = enumeration(Etcdserverpb_Compare.CompareTarget.self)
            $0.key = data()
            $0.rangeEnd = data()
            switch Int.random(in: 0..<6, using: &random) {
            case 0: $0.version = number()
            case 1: $0.createRevision = number()
            case 2: $0.modRevision = number()
            case 3: $0.value = data()
            case 4: $0.lease = number()
            default: break
            }
        }
    }

    mutating func operation(depth: Int) -> Etcdserverpb_RequestOp {
        .with {
            switch Int.random(in: 0..<5, using: &random) {
            case 0: $0.requestRange = range()
            case 1: $0.requestPut = put()
            case 2: $0.requestDeleteRange = deleteRange()
            case 3 where depth > 0: $0.requestTxn = txn(depth: depth - 1)
            default: break
            }
        }
    }

    mutating func txn(depth: Int) -> Etcdserverpb_TxnRequest {
        .with {
            for _ in 0..<Int.random(in: 0...3, using: &random) { $0.compare.append(compare()) }
            for _ in 0..<Int.random(in: 0...3, using: &random) { $0.success.append(operation(depth: depth)) }
            for _ in 0..<Int.random(in: 0...3, using: &random) { $0.failure.append(operation(depth: depth)) }
        }
    }
}

extension Message {
    /// The generated encoding.
    var bytes: [UInt8] {
        get throws { try serializedBytes() }
    }

    /// Gives the generated encoding to a reader under test.
    func read<R>(_ body: (UnsafeRawBufferPointer) throws -> R) throws -> R {
        try bytes.withUnsafeBytes { try body($0) }
    }
}
