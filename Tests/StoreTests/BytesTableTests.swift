import TestSupport
import Testing
import Vocabulary

@Suite struct BytesTableTests {
    @Test(arguments: 0..<4 as Range<UInt64>) func `does what a dictionary does`(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var table = BytesTable<Int>()
        var model: [[UInt8]: Int] = [:]
        for step in 0..<4_000 {
            let key = (0..<Int.random(in: 0...3, using: &random)).map { _ in UInt8.random(in: 0...3, using: &random) }
            switch Int.random(in: 0..<6, using: &random) {
            case 0:
                table[key] = step
                model[key] = step
            case 1:
                table[key] = nil
                model[key] = nil
            case 2:
                table[key, default: 7] += 1
                model[key, default: 7] += 1
            case 3: #expect(table.updateValue(step, forKey: key) == model.updateValue(step, forKey: key))
            case 4: #expect(table.removeValue(forKey: key) == model.removeValue(forKey: key))
            default: #expect(table[key, default: -1] == model[key, default: -1])
            }
            #expect(table[key] == model[key])
            #expect(table.count == model.count && table.isEmpty == model.isEmpty)
        }
        #expect(Dictionary(uniqueKeysWithValues: table.map { ($0.key, $0.value) }) == model)
        #expect(Set(table.keys) == Set(model.keys) && table.values.sorted() == model.values.sorted())
    }
}
