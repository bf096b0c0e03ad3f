import Server
import Store
import TestSupport
import Testing
import Vocabulary

/// Keys and ends over a small alphabet, so that ranges nest, touch and repeat.
private func randomBytes(_ random: inout SeededGenerator) -> [UInt8] {
    (0..<Int.random(in: 1...3, using: &random)).map { _ in [0, 97, 98, 255].randomElement(using: &random) ?? 97 }
}

private func randomRange(_ random: inout SeededGenerator) -> KeyRange? {
    let key = randomBytes(&random)
    switch Int.random(in: 0..<3, using: &random) {
    case 0: return KeyRange(watching: key, end: [])
    case 1: return KeyRange(watching: key, end: [0])
    default: return KeyRange(watching: key, end: randomBytes(&random))
    }
}

private func watcher(_ range: KeyRange) -> Watcher {
    let observer = WatchObserver(onEvent: { _ in }, onLost: {})
    return Watcher(range: range, shape: [], consumer: .observer(observer), next: .initial)
}

@Test(arguments: Seeds.all)
func `the watch index finds exactly the watches whose range holds a key`(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    var index = WatchIndex()
    var naive: [Watcher] = []
    for _ in 0..<3_000 {
        if naive.isEmpty || Int.random(in: 0..<5, using: &random) < 3 {
            guard let range = randomRange(&random) else { continue }
            let added = watcher(range)
            index.insert(added)
            naive.append(added)
        } else {
            let position = Int.random(in: 0..<naive.count, using: &random)
            index.remove(naive.remove(at: position))
        }
        try #require(index.count == naive.count)
        let key = randomBytes(&random)
        var found: [ObjectIdentifier] = []
        key.withUnsafeBytes { key in
            index.forEachGroup(holding: key) { found += $0.watchers.map { ObjectIdentifier($0) } }
        }
        let expected = naive.filter { watcher in key.withUnsafeBytes { watcher.range.contains($0) } }
        #expect(Set(found) == Set(expected.map { ObjectIdentifier($0) }))
        #expect(found.count == expected.count, "each watch is found once")
    }
}

@Test func `a lookup among ten thousand ranges touches few of them`() {
    var index = WatchIndex()
    for number in 0..<10_000 {
        let prefix = Array("service/\(number)/".utf8)
        var end = prefix
        end[end.count - 1] += 1
        if let range = KeyRange(watching: prefix, end: end) { index.insert(watcher(range)) }
    }
    var visited = 0
    Array("service/4711/leader".utf8).withUnsafeBytes { key in
        visited = index.nodesVisited(lookingFor: key)
    }
    #expect(visited < 200, "an interval tree of 10,000 is about 14 deep; a scan would visit them all")
}

@Test func `a range that ends at or before its key is refused, and an empty key means the zero byte`() {
    #expect(KeyRange(watching: [98], end: [97]) == nil)
    #expect(KeyRange(watching: [98], end: [98]) == nil)
    #expect(KeyRange(watching: [98], end: [0])?.isUnbounded == true)
    #expect(KeyRange(watching: [], end: [])?.key == [0])
}
