import Berth
import CommandText
import Testing

@Suite struct TransferTextTests {
    private func progress(_ stage: TransferProgress.Stage, keys: Int) -> TransferProgress {
        var progress = TransferProgress()
        progress.stage = stage
        progress.keys = keys
        progress.total = 1_000_000
        progress.bytes = 3_456_789
        progress.leases = 1_234
        return progress
    }

    @Test func `progress is a bar that fits its terminal`() {
        let half = progress(.copying, keys: 500_000)
        #expect(
            TransferText.bar(half, elapsed: .seconds(10), width: 120)
                == "[##########----------] 50%  copying: 500,000 of 1,000,000 keys, 3.2 MiB, 50,000/s, 10 s left")
        #expect(TransferText.bar(half, elapsed: .seconds(10), width: 30).count == 29)
        #expect(TransferText.bar(half, elapsed: .zero, width: 0).isEmpty)
        #expect(TransferText.bar(progress(.granting, keys: 0), elapsed: .zero, width: 80) == "granting leases: 1,234")
        #expect(TransferText.line(progress(.verifying, keys: 7)) == "verifying: 7 of 1,000,000 keys, 3.2 MiB")
    }
}
