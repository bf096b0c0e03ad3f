import TestSupport

/// Requests over few keys, few leases and all options, so that they meet each other often.
struct RandomRequests {
    private var random: SeededGenerator
    /// What the newest revision is, for requests that name one.
    var revision: Int64 = 1

    init(seed: UInt64) { random = SeededGenerator(seed: seed &* 0x5851_f42d_4c95_7f2d) }

    mutating func number(_ range: ClosedRange<Int64>) -> Int64 { .random(in: range, using: &random) }
    mutating func chance(_ oneIn: Int) -> Bool { Int.random(in: 0..<oneIn, using: &random) == 0 }
    private mutating func pick<Element>(_ elements: [Element]) -> Element {
        elements[Int.random(in: 0..<elements.count, using: &random)]
    }

    /// Mostly short keys, some past the length LMDB takes, with a long common start.
    mutating func key() -> Bytes {
        if chance(12) { return Bytes(repeating: 0x6d, count: 489 + Int(number(0...3))) + Bytes([UInt8(number(0...2))]) }
        return Array(utf8(pick(["a", "b", "c", "d", "m", "z"])) + (chance(3) ? [UInt8(number(0...2))] : []))
    }

    mutating func end() -> Bytes {
        switch number(0...5) {
        case 0, 1: []
        case 2: [0]
        default: key()
        }
    }

    mutating func value() -> Bytes {
        chance(4) ? [] : Bytes(repeating: UInt8(number(0...255)), count: Int(number(0...200)))
    }

    mutating func lease() -> Int64 { chance(2) ? 0 : number(-2...4) }

    private mutating func someRevision() -> Int64 { chance(3) ? number(-2...(revision + 1)) : 0 }

    mutating func put() -> PutMessage {
        var message = PutMessage(key(), value(), lease: lease())
        message.prevKV = chance(3)
        if chance(6) {
            message.ignoreValue = true
            message.value = []
        }
        if chance(6) {
            message.ignoreLease = true
            message.lease = 0
        }
        return message
    }

    mutating func delete() -> DeleteMessage { DeleteMessage(key(), end(), prevKV: chance(2)) }

    mutating func range() -> RangeMessage {
        var message = RangeMessage(key(), end())
        if chance(3) { message = .everything }
        message.limit = chance(2) ? number(-1...5) : 0
        message.revision = someRevision()
        message.sortOrder = number(0...2)
        message.sortTarget = number(0...4)
        message.keysOnly = chance(4)
        message.countOnly = chance(6)
        if chance(3) { message.minMod = someRevision() }
        if chance(4) { message.maxMod = someRevision() }
        if chance(4) { message.minCreate = someRevision() }
        if chance(4) { message.maxCreate = someRevision() }
        return message
    }

    mutating func compare() -> CompareMessage {
        let target = pick(CompareMessage.Target.allCases)
        let arm: CompareMessage.Arm
        switch (target, chance(6)) {
        case (_, true): arm = pick([.none, .number(.mod, number(0...3)), .value([1])])
        case (.value, _): arm = .value(value())
        case (.create, _), (.mod, _): arm = .number(target, number(0...revision))
        default: arm = .number(target, number(0...4))
        }
        return CompareMessage(
            target: target, key: key(), end: end(), result: pick(CompareMessage.Result.allCases), arm: arm)
    }

    mutating func operation(depth: Int) -> OperationMessage {
        switch number(0...9) {
        case 0...3: .put(put())
        case 4, 5: .delete(delete())
        case 6, 7: depth > 0 ? .txn(txn(depth: depth - 1)) : .put(put())
        default: .range(range())
        }
    }

    mutating func txn(depth: Int) -> TxnMessage {
        var message = TxnMessage()
        for _ in 0..<number(0...2) { message.compares.append(compare()) }
        for _ in 0..<number(0...3) { message.success.append(operation(depth: depth)) }
        for _ in 0..<number(0...3) { message.failure.append(operation(depth: depth)) }
        return message
    }
}
