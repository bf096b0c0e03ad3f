/// What tests share: seeded randomness and helpers around real processes. Never linked into a product.

#if canImport(Glibc)
    import Glibc
#endif

/// A random number generator whose whole future follows from its seed (SplitMix64, Steele, Lea, Flood 2014).
public struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    /// Starts the sequence that belongs to `seed`.
    public init(seed: UInt64) { state = seed }

    /// The next 64 bits.
    public mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

/// The seeds property tests run with. `BERTH_SEED=n` runs that seed alone, to repeat a failure.
public enum Seeds {
    /// All seeds of this run.
    public static let all: [UInt64] = {
        guard let text = getenv("BERTH_SEED").map({ String(cString: $0) }), let seed = UInt64(text) else {
            return [1, 2, 3, 4]
        }
        return [seed]
    }()
}
