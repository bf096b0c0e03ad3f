public import Vocabulary

/// The keys of a line: `NAME/<lease id in hex>`, exactly as etcd's own clients write them, so that all stand in one line.
public enum QueueKey {
    /// The key a lease stands in a line with.
    public static func make(name: [UInt8], lease: LeaseID) -> [UInt8] {
        name + [UInt8(ascii: "/")] + suffix(lease)
    }

    /// How much of a key is the line's name; nil when the key is no place that `lease` could have.
    static func nameCount(of key: UnsafeRawBufferPointer, lease: LeaseID) -> Int? {
        guard lease != .none else { return nil }
        var rest = lease.value.magnitude
        var position = key.count
        repeat {
            guard position > 0, key[position - 1] == hexDigit(rest & 15) else { return nil }
            position -= 1
            rest >>= 4
        } while rest != 0
        if lease.value < 0 {
            guard position > 0, key[position - 1] == UInt8(ascii: "-") else { return nil }
            position -= 1
        }
        guard position > 0, key[position - 1] == UInt8(ascii: "/") else { return nil }
        return position - 1
    }

    /// Go's `%x` of the lease's number: a sign, if it is negative, and lower-case digits.
    private static func suffix(_ lease: LeaseID) -> [UInt8] { Array(String(lease.value, radix: 16).utf8) }

    private static func hexDigit(_ digit: UInt64) -> UInt8 {
        UInt8(digit) + (digit < 10 ? UInt8(ascii: "0") : UInt8(ascii: "a") - 10)
    }
}
