/// One metric as `/metrics` shows it: a name, what it means, and how its values are read at the moment of asking.
///
/// A table of these is all there is to know about an endpoint's metrics, so another table, such as one with etcd's names,
/// is added beside it and read from the same sources.
struct MetricFamily: Sendable {
    let name: String
    let help: String
    let kind: MetricKind
    let samples: @Sendable (ServerContext) -> [MetricSample]
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
    var labels: [(name: String, value: String)] = []
    var value: Double

    package init(_ value: Double, suffix: String = "", labels: [(name: String, value: String)] = []) {
        self.value = value
        self.suffix = suffix
        self.labels = labels
    }
}

/// Prometheus' text format, version 0.0.4.
package enum MetricText {
    static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    /// The metrics of a table, in its order.
    static func render(_ families: [MetricFamily], _ context: ServerContext) -> String {
        var text = ""
        for family in families {
            append(family.name, family.kind, help: family.help, family.samples(context), to: &text)
        }
        return text
    }

    /// One metric: its heading, then its lines.
    package static func append(
        _ name: String, _ kind: MetricKind, help: String, _ samples: [MetricSample], to text: inout String
    ) {
        text += "# HELP \(name) \(escaped(help, quote: false))\n"
        text += "# TYPE \(name) \(kind.rawValue)\n"
        for sample in samples {
            text += name + sample.suffix
            if !sample.labels.isEmpty {
                text += "{"
                text += sample.labels.map { "\($0.name)=\"\(escaped($0.value, quote: true))\"" }.joined(separator: ",")
                text += "}"
            }
            text += " \(number(sample.value))\n"
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
