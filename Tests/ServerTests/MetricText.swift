import Foundation
import Testing

/// Prometheus' text format, read strictly: what a scraper would refuse, this refuses too.
struct ParsedMetrics {
    struct Family {
        var type: String
        var samples: [String: Double] = [:]
    }

    var families: [String: Family] = [:]

    struct Problem: Error, CustomStringConvertible {
        let description: String
    }

    init(_ text: String) throws {
        guard text.hasSuffix("\n") else { throw Problem(description: "the last line does not end") }
        var help: Set<String> = []
        var current: String?
        for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
            let words = line.split(separator: " ", maxSplits: 3).map(String.init)
            if line.hasPrefix("# HELP ") {
                guard words.count == 4, help.insert(words[2]).inserted else { throw Problem(description: "\(line)") }
                current = words[2]
            } else if line.hasPrefix("# TYPE ") {
                guard words.count == 4, current == words[2], families[words[2]] == nil,
                    ["counter", "gauge", "histogram"].contains(words[3])
                else { throw Problem(description: "\(line)") }
                families[words[2]] = Family(type: words[3])
            } else {
                try addSample(String(line), to: current)
            }
        }
        for (name, family) in families where family.type == "histogram" { try checkHistogram(name, family) }
    }

    /// The value of a sample, by its whole name with labels.
    subscript(_ sample: String) -> Double? {
        for family in families.values { if let value = family.samples[sample] { return value } }
        return nil
    }

    private mutating func addSample(_ line: String, to current: String?) throws {
        guard let current, let type = families[current]?.type, let space = line.lastIndex(of: " ") else {
            throw Problem(description: "a sample without a heading: \(line)")
        }
        let sample = String(line[..<space])
        let name = sample.prefix { $0 != "{" }
        let suffixes = type == "histogram" ? ["_bucket", "_sum", "_count"] : [""]
        guard suffixes.contains(where: { name == current + $0 }),
            name.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") })
        else { throw Problem(description: "a sample of another metric: \(line)") }
        try checkLabels(sample.dropFirst(name.count))
        let number = line[line.index(after: space)...]
        guard let value = number == "+Inf" ? .infinity : Double(number) else {
            throw Problem(description: "no number: \(line)")
        }
        guard families[current]?.samples.updateValue(value, forKey: sample) == nil else {
            throw Problem(description: "twice: \(sample)")
        }
    }

    private func checkLabels(_ text: Substring) throws {
        guard !text.isEmpty else { return }
        guard text.hasPrefix("{"), text.hasSuffix("}") else { throw Problem(description: "labels: \(text)") }
        var rest = text.dropFirst().dropLast()
        while !rest.isEmpty {
            let name = rest.prefix { $0.isLetter || $0 == "_" }
            rest = rest.dropFirst(name.count)
            guard !name.isEmpty, rest.hasPrefix("=\"") else { throw Problem(description: "labels: \(text)") }
            rest = rest.dropFirst(2)
            while let next = rest.first, next != "\"" {
                if next == "\\" {
                    guard let escaped = rest.dropFirst().first, "\\\"n".contains(escaped) else {
                        throw Problem(description: "escape: \(text)")
                    }
                    rest = rest.dropFirst()
                }
                rest = rest.dropFirst()
            }
            guard rest.first == "\"" else { throw Problem(description: "an open label: \(text)") }
            rest = rest.dropFirst()
            if rest.first == "," { rest = rest.dropFirst() }
        }
    }

    private func checkHistogram(_ name: String, _ family: Family) throws {
        /// Buckets by the labels beside their bound, as those of sum and count are written.
        var groups: [String: [(bound: Double, count: Double)]] = [:]
        for (sample, count) in family.samples where sample.hasPrefix(name + "_bucket") {
            let labels = sample.dropFirst(name.count + 7)
            guard let bound = labels.range(of: "le=\"") else { throw Problem(description: "no bound: \(sample)") }
            let number = labels[bound.upperBound...].prefix { $0 != "\"" }
            let others = labels[..<bound.lowerBound].drop { $0 == "{" }
            let group = others.isEmpty ? "" : "{" + others.dropLast() + "}"
            groups[group, default: []].append(
                (number == "+Inf" ? Double.infinity : Double(number) ?? Double.nan, count))
        }
        for (labels, unsorted) in groups {
            let buckets = unsorted.sorted { $0.bound < $1.bound }
            let counts: [Double] = buckets.map { $0.count }
            guard buckets.last?.bound == .infinity, counts.last == family.samples[name + "_count" + labels],
                family.samples[name + "_sum" + labels] != nil, counts == counts.sorted()
            else { throw Problem(description: "histogram \(name)\(labels): \(buckets)") }
        }
    }
}
