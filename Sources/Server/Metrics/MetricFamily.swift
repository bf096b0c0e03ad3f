import Measures

/// One metric as `/metrics` shows it: a name, what it means, and how its values are read at the moment of asking.
///
/// A table of these is all there is to know about an endpoint's metrics, so another table, such as one with etcd's names,
/// is added beside it and read from the same sources.
struct MetricFamily: Sendable {
    let name: String
    let help: String
    let kind: MetricKind
    let samples: @Sendable (Scrape) -> [MetricSample]
}

/// The types that Berth's metrics have.
package enum MetricKind: String, Sendable {
    /// Only grows, but for a restart.
    case counter
    /// Goes up and down.
    case gauge
    /// Counts of values by their size.
    case histogram
}

/// One line of a metric.
package struct MetricSample: Sendable {
    /// What follows the metric's name, as in `_bucket`.
    var suffix = ""
    /// In braces, as it stands in the text; empty for none.
    var labelText = ""
    var value: Double

    package init(_ value: Double, suffix: String = "", labels: [(name: String, value: String)] = []) {
        self.init(value, suffix: suffix, labelText: MetricText.labels(labels))
    }

    /// With labels that were written before, for metrics of many lines.
    init(_ value: Double, suffix: String = "", labelText: String) {
        self.value = value
        self.suffix = suffix
        self.labelText = labelText
    }

    /// The lines of a histogram: buckets as Prometheus has them, each with all that are smaller too.
    static func histogram(
        _ reading: HistogramReading, labels: [(name: String, value: String)] = []
    ) -> [MetricSample] {
        var below = 0
        var samples: [MetricSample] = []
        for (position, count) in reading.counts.enumerated() {
            below += count
            let bound = position < reading.bounds.count ? MetricText.number(reading.bounds[position]) : "+Inf"
            samples.append(
                MetricSample(Double(below), suffix: "_bucket", labels: labels + [("le", bound)]))
        }
        samples.append(MetricSample(reading.sum, suffix: "_sum", labels: labels))
        samples.append(MetricSample(Double(below), suffix: "_count", labels: labels))
        return samples
    }
}

/// Prometheus' text format, version 0.0.4.
package enum MetricText {
    static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    /// The metrics of a table, in its order.
    static func render(_ families: [MetricFamily], _ context: ServerContext) -> String {
        let scrape = Scrape(context)
        var text = ""
        // As large as it usually is, so that it does not grow in steps.
        text.reserveCapacity(256 << 10)
        for family in families {
            let samples = family.samples(scrape)
            // A metric without a line has no heading either.
            guard !samples.isEmpty else { continue }
            append(family.name, family.kind, help: family.help, samples, to: &text)
        }
        return text
    }

    /// Labels as they stand in the text; empty for none.
    static func labels(_ labels: [(name: String, value: String)]) -> String {
        guard !labels.isEmpty else { return "" }
        return "{" + labels.map { "\($0.name)=\"\(escaped($0.value, quote: true))\"" }.joined(separator: ",") + "}"
    }

    /// One metric: its heading, then its lines.
    package static func append(
        _ name: String, _ kind: MetricKind, help: String, _ samples: [MetricSample], to text: inout String
    ) {
        text += "# HELP \(name) \(escaped(help, quote: false))\n"
        text += "# TYPE \(name) \(kind.rawValue)\n"
        for sample in samples {
            text += name
            text += sample.suffix
            text += sample.labelText
            text += " "
            text += number(sample.value)
            text += "\n"
        }
    }

    private static func escaped(_ text: String, quote: Bool) -> String {
        var result = ""
        for character in text.unicodeScalars {
            switch character {
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\"" where quote: result += "\\\""
            default: result.unicodeScalars.append(character)
            }
        }
        return result
    }

    /// As Go writes numbers, which is what Prometheus reads.
    static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
        if value == value.rounded(), abs(value) < 1e15 { return String(Int64(value)) }
        return "\(value)"
    }
}
