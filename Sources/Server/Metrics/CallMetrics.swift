import GRPCTransport
import Measures

/// Calls as `/metrics` shows them: each method's lines exist from the start, with labels written once.
struct CallMetrics: Sendable {
    let meter: CallMeter
    /// Labels of each method, and with each status.
    private let methods: [String]
    private let ends: [[String]]
    private let pairs: [[(name: String, value: String)]]

    init(_ meter: CallMeter) {
        self.meter = meter
        pairs = meter.methods.map {
            [("grpc_method", $0.name), ("grpc_service", $0.service), ("grpc_type", $0.type.rawValue)]
        }
        methods = pairs.map { MetricText.labels($0) }
        ends = pairs.map { pair in
            GRPCCode.allCases.map { MetricText.labels([("grpc_code", $0.prometheusName)] + pair) }
        }
    }

    func samples(_ reading: CallReading, _ read: (CallReading) -> (Int) -> Int) -> [MetricSample] {
        let number = read(reading)
        return methods.indices.map { MetricSample(Double(number($0)), labelText: methods[$0]) }
    }

    func endSamples(_ reading: CallReading) -> [MetricSample] {
        var samples: [MetricSample] = []
        samples.reserveCapacity(ends.count * GRPCCode.allCases.count)
        for method in ends.indices {
            for code in GRPCCode.allCases {
                samples.append(
                    MetricSample(Double(reading.ended(method, code)), labelText: ends[method][code.rawValue]))
            }
        }
        return samples
    }

    /// Times of each method's calls; none unless they are taken.
    func timeSamples(_ reading: CallReading) -> [MetricSample] {
        guard meter.timesCalls else { return [] }
        return methods.indices.flatMap { MetricSample.histogram(reading.times($0), labels: pairs[$0]) }
    }

    /// Calls by type and by the API version their client names.
    func requestSamples(_ reading: CallReading) -> [MetricSample] {
        [("stream", false), ("unary", true)].flatMap { type, isUnary in
            reading.versions(ofUnary: isUnary).map { version, calls in
                MetricSample(Double(calls), labels: [("client_api_version", version), ("type", type)])
            }
        }
    }

    /// Range requests that were answered or named a revision that is not there: those that read the store.
    func ranges(_ reading: CallReading) -> Int {
        guard let range = meter.methods.firstIndex(where: { $0.service == "etcdserverpb.KV" && $0.name == "Range" })
        else { return 0 }
        return reading.ended(range, .ok) + reading.ended(range, .outOfRange)
    }
}

extension GRPCCode {
    /// The code as grpc-go writes it, which is what dashboards match.
    var prometheusName: String {
        switch self {
        case .ok: "OK"
        case .cancelled: "Canceled"
        case .unknown: "Unknown"
        case .invalidArgument: "InvalidArgument"
        case .deadlineExceeded: "DeadlineExceeded"
        case .notFound: "NotFound"
        case .alreadyExists: "AlreadyExists"
        case .permissionDenied: "PermissionDenied"
        case .resourceExhausted: "ResourceExhausted"
        case .failedPrecondition: "FailedPrecondition"
        case .aborted: "Aborted"
        case .outOfRange: "OutOfRange"
        case .unimplemented: "Unimplemented"
        case .internal: "Internal"
        case .unavailable: "Unavailable"
        case .dataLoss: "DataLoss"
        case .unauthenticated: "Unauthenticated"
        }
    }
}
