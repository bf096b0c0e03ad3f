package import NIOCore

/// The `grpc-timeout` header: one to eight digits and a unit.
package enum TimeoutHeader {
    /// Reads a header value; nil when it is malformed. A time too long to count becomes the longest there is.
    package static func parse(_ bytes: UnsafeRawBufferPointer) -> TimeAmount? {
        guard bytes.count >= 2, bytes.count <= 9 else { return nil }
        var amount: Int64 = 0
        for digit in bytes.dropLast() {
            guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9") else { return nil }
            amount = amount * 10 + Int64(digit - UInt8(ascii: "0"))
        }
        let nanosecondsPerUnit: Int64
        switch bytes[bytes.count - 1] {
        case UInt8(ascii: "n"): nanosecondsPerUnit = 1
        case UInt8(ascii: "u"): nanosecondsPerUnit = 1_000
        case UInt8(ascii: "m"): nanosecondsPerUnit = 1_000_000
        case UInt8(ascii: "S"): nanosecondsPerUnit = 1_000_000_000
        case UInt8(ascii: "M"): nanosecondsPerUnit = 60_000_000_000
        case UInt8(ascii: "H"): nanosecondsPerUnit = 3_600_000_000_000
        default: return nil
        }
        // Half of what the clock can hold, so that adding it to now cannot overflow.
        let longest = Int64.max / 2
        let (product, overflow) = amount.multipliedReportingOverflow(by: nanosecondsPerUnit)
        return .nanoseconds(overflow ? longest : min(product, longest))
    }

    /// Writes a header value, rounded up to the unit that eight digits can hold.
    package static func format(_ timeout: TimeAmount) -> String {
        let nanoseconds = max(timeout.nanoseconds, 0)
        let units: [(nanoseconds: Int64, letter: String)] = [
            (1, "n"), (1_000, "u"), (1_000_000, "m"), (1_000_000_000, "S"), (60_000_000_000, "M"),
        ]
        for unit in units {
            let (whole, rest) = nanoseconds.quotientAndRemainder(dividingBy: unit.nanoseconds)
            let amount = whole + (rest > 0 ? 1 : 0)
            if amount <= 99_999_999 { return "\(amount)\(unit.letter)" }
        }
        return "\(min(nanoseconds / 3_600_000_000_000 + 1, 99_999_999))H"
    }
}
