import Measures

/// What one event loop's watches count. Written on the loop, read from anywhere.
final class WatchTallies: Sendable {
    enum Number: Int, CaseIterable {
        /// Watches, those of observers of elections included.
        case watches
        /// Watches that read history.
        case behind
        /// Open Watch streams.
        case streams
        /// Events sent to clients.
        case events
        /// Watches that fell behind because their client did not read.
        case stalls
    }

    private let row = TallyRow(count: Number.allCases.count)

    func add(_ number: Number, _ amount: Int = 1) { row.add(number.rawValue, amount) }

    func set(_ number: Number, _ value: Int) { row.set(number.rawValue, value) }

    subscript(_ number: Number) -> Int { row[number.rawValue] }
}
