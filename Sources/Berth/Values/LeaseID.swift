/// Names a lease: any number but zero, negative ones too. Printed in hexadecimal, as in the keys of locks.
public struct LeaseID: Sendable, Hashable {
    /// The number on the wire.
    public let value: Int64

    /// Wraps a lease's number.
    public init(_ value: Int64) { self.value = value }

    /// Reads what `description` writes; nil when it is no such number.
    public init?(hex text: some StringProtocol) {
        guard let bits = UInt64(text, radix: 16), !text.hasPrefix("+") else { return nil }
        value = Int64(bitPattern: bits)
    }

    /// A positive number nobody else picks: 63 random bits.
    static func random() -> LeaseID { LeaseID(Int64.random(in: 1...Int64.max)) }
}

extension LeaseID: CustomStringConvertible {
    /// Lower-case hexadecimal without padding.
    public var description: String { String(UInt64(bitPattern: value), radix: 16) }
}
