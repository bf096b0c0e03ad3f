/// Numbers that one thread adds to and any thread reads: counters, histograms, blocks of tallies. Nothing here allocates,
/// locks or waits once it is made. It must never know what a number means: names, units and labels are for who shows it.
public import Synchronization

/// A number that only grows. Any thread adds.
public final class Counter: Sendable {
    private let count = Atomic<Int>(0)

    /// Starts at zero.
    public init() {}

    /// Adds; for what happens less often than a call, as threads contend for it.
    public func add(_ amount: Int = 1) { count.wrappingAdd(amount, ordering: .relaxed) }

    /// What it has come to.
    public var value: Int { count.load(ordering: .relaxed) }

    /// Forgets what was counted.
    public func reset() { count.store(0, ordering: .relaxed) }
}

/// A row of numbers with one writing thread, for what happens with every call: adding is an ordinary addition in memory,
/// and no other thread writes to the cache lines.
///
/// The writer is whoever owns the row, an event loop or the log thread; readers see each number as it was a moment ago.
public final class TallyRow: @unchecked Sendable {
    // Unchecked: the memory is set up once and holds atomics alone.

    /// How many numbers there are.
    public let count: Int
    @usableFromInline let numbers: UnsafeMutablePointer<Atomic<Int>>

    /// Two cache lines, as processors fetch lines in pairs.
    private static let alignment = 128

    /// A row of zeros.
    public init(count: Int) {
        self.count = count
        let wanted = max(1, count) * MemoryLayout<Atomic<Int>>.stride
        let bytes = (wanted + Self.alignment - 1) / Self.alignment * Self.alignment
        let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: Self.alignment)
        numbers = memory.bindMemory(to: Atomic<Int>.self, capacity: count)
        for position in 0..<count { (numbers + position).initialize(to: Atomic(0)) }
    }

    deinit {
        numbers.deinitialize(count: count)
        numbers.deallocate()
    }

    // Inlinable: these stand in the way of every call, and are a few instructions each.

    /// Adds to one number. The writer's thread only.
    @inlinable
    public func add(_ position: Int, _ amount: Int = 1) {
        let place = numbers + position
        place.pointee.store(place.pointee.load(ordering: .relaxed) &+ amount, ordering: .relaxed)
    }

    /// Replaces one number. The writer's thread only.
    @inlinable
    public func set(_ position: Int, _ value: Int) { numbers[position].store(value, ordering: .relaxed) }

    /// Reads one number, from any thread.
    @inlinable
    public subscript(_ position: Int) -> Int { numbers[position].load(ordering: .relaxed) }
}
