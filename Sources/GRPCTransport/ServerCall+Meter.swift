import Measures
import NIOCore

/// What is counted of a call. Without a meter, and for methods it does not know, nothing is.
struct CallTally {
    private let meter: LoopMeter
    private let start: Int
    private let began: Int

    init(_ meter: LoopMeter, method: Int, isUnary: Bool, version: Int) {
        self.meter = meter
        start = meter.started(method, isUnary: isUnary, version: version)
        began = meter.timesCalls ? MonotonicClock.nanoseconds : 0
    }

    func received(bytes: Int) { meter.received(start, bytes: bytes) }

    func sent(bytes: Int) { meter.sent(start, bytes: bytes) }

    func ended(_ code: GRPCCode) {
        meter.ended(start, code)
        if meter.timesCalls { meter.took(start, nanoseconds: MonotonicClock.nanoseconds - began) }
    }
}

extension CallTally {
    /// Begins to count a call whose method was found and which will reach its handler.
    init?(_ request: RequestHead, isUnary: Bool, _ meter: LoopMeter?) {
        guard let meter, let method = request.method?.meterPosition else { return nil }
        self.init(meter, method: method, isUnary: isUnary, version: request.metadata.clientVersion)
    }
}

extension MetadataBlock {
    /// The number of the version that the client says it has.
    var clientVersion: Int { withValue(of: ClientVersion.header, ClientVersion.number) ?? ClientVersion.unknown }
}

extension CancelReason {
    /// What such a call is counted as.
    var code: GRPCCode {
        switch self {
        case .reset, .connectionLost: .cancelled
        case .deadlineExceeded: .deadlineExceeded
        case .serverShutdown: .unavailable
        }
    }
}
