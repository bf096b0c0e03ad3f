import Measures
import Testing

@Suite struct MeasuresTests {
    @Test func `a value counts where it is not above the bound, and above all bounds in the last place`() {
        let histogram = Histogram.seconds([0.001, 0.002, 0.004])
        for nanoseconds in [0, 1_000_000, 1_000_001, 2_000_000, 4_000_000, 4_000_001, 9_000_000_000] {
            histogram.observe(nanoseconds)
        }
        let reading = histogram.reading
        #expect(reading.counts == [2, 2, 1, 2])
        #expect(reading.count == 7)
        #expect(abs(reading.sum - 9.012000002) < 1e-9)
        histogram.observe(.milliseconds(3))
        #expect(histogram.reading.counts == [2, 2, 2, 2])
        histogram.reset()
        #expect(histogram.count == 0)
    }

    @Test func `bounds double from the first`() {
        #expect(Histogram.doubling(0.0001, count: 4) == [0.0001, 0.0002, 0.0004, 0.0008])
        #expect(Histogram.doubling(0.001, count: 14).last == 8.192)
    }

    @Test func `several threads add to one counter and one histogram, and nothing is lost`() async {
        let counter = Counter()
        let histogram = Histogram(bounds: [1, 10])
        await withTaskGroup(of: Void.self) { tasks in
            for _ in 0..<4 {
                tasks.addTask {
                    for value in 0..<10_000 {
                        counter.add()
                        histogram.observe(value % 20)
                    }
                }
            }
        }
        #expect(counter.value == 40_000)
        #expect(histogram.reading.counts == [4_000, 18_000, 18_000])
    }

    @Test func `a row's writer is read from elsewhere`() async {
        let row = TallyRow(count: 3)
        await Task.detached { for _ in 0..<1_000 { row.add(1, 2) } }.value
        #expect([row[0], row[1], row[2]] == [0, 2_000, 0])
        row.set(2, -7)
        #expect(row[2] == -7)
    }
}
