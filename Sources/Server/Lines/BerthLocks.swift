import EtcdAPI
import FoundationEssentials
import GRPCTransport
import Measures
import NIOCore
import StateMachine
import Store
import SwiftProtobuf
import Vocabulary

/// `berth.v1.Locks`.
struct BerthLocks: Sendable {
    let context: ServerContext

    func register(in table: inout ServiceTable) {
        table.unary("/berth.v1.Locks/Acquire") { acquire($0, $1) }
        table.unary("/berth.v1.Locks/Release") { release($0, $1) }
        table.unary("/berth.v1.Locks/Renew") { renew($0, $1) }
        table.unary("/berth.v1.Locks/Inspect") { inspect($0, $1) }
        table.unary("/berth.v1.Locks/List") { list($0, $1) }
        table.unary("/berth.v1.Locks/Break") { breakPlace($0, $1) }
        table.streaming("/berth.v1.Locks/Observe") { LineStream(call: $0, context: context).start() }
    }

    // MARK: - Acquire

    private func acquire(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        let view: AcquireView
        let caller: Caller?
        do {
            view = try RequestCheck.acquire(request, alarms: context.alarms)
            caller = try context.access.caller(of: call)
        } catch {
            return call.fail(error)
        }
        let name = [UInt8](view.name)
        let lease = view.lease == .none ? context.freshLeaseID() : view.lease
        let payload =
            [UInt8](request) + AcquireView.suffix(lease: lease, at: ServerContext.wallClock(), origin: .lock)
        let wait = PlaceWait(call: call, origin: .lock, for: caller, context: context)
        wait.start(payload, patience: TimeAmount(patience: view.waitMilliseconds)) { outcome in
            switch outcome {
            case .holds(let place, let revision):
                call.respond(
                    BerthResponse.acquired(
                        header: context.headerTemplate.header(revision: revision, term: context.term), name: name,
                        key: place.key, token: place.token, lease: place.lease, timeToLive: place.timeToLive,
                        waitedMilliseconds: wait.waited.milliseconds, ahead: place.ahead))
            case .late(let place):
                context.holder(of: name, place) { result in
                    var response = Berth_V1_AcquireResponse()
                    response.waitedMilliseconds = wait.waited.milliseconds
                    response.ahead = Int64(place.ahead)
                    end(call, result) {
                        response.header = context.header(revision: $0.revision)
                        if let holder = $0.holder, context.access.mayShow(call, QueueKey.line(name)) {
                            response.holder = holder
                        }
                        return response
                    }
                }
            case .failed(let error): call.fail(error)
            }
        }
    }

    // MARK: - Release and renew

    private func release(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        let view: ReleaseView
        do {
            view = try ReleaseView(request)
        } catch {
            return call.fail(EtcdError.malformed(error))
        }
        guard !view.key.isEmpty else { return call.fail(EtcdError.emptyKey) }
        let caller: Caller?
        do throws(EtcdError) {
            caller = try context.access.caller(of: call)
            try caller?.permit(.write, KeyRange(key: [UInt8](view.key), end: []))
        } catch {
            return call.fail(error)
        }
        context.release(key: [UInt8](view.key), token: view.token, for: caller?.author) { result in
            switch result {
            case .success(.now(let response)): call.respond(response)
            case .success(.before(let response)): call.respond(response)
            case .failure(let error): call.fail(error)
            }
        }
    }

    private func renew(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(Berth_V1_RenewRequest.self, request, call) else { return }
        guard !decoded.key.isEmpty else { return call.fail(EtcdError.emptyKey) }
        do throws(EtcdError) {
            var response = Berth_V1_RenewResponse()
            let caller = try context.access.caller(of: call)
            try caller?.permit(.write, KeyRange(key: [UInt8](decoded.key), end: []))
            let lease = try context.leaseOfPlace(key: [UInt8](decoded.key), token: Revision(decoded.token))
            try caller?.state.permit(caller?.author, writingKeysOf: lease, context.leaseTable)
            guard case .renewed(let seconds) = context.keeper.renew(lease) else { throw EtcdError.placeLost }
            context.metrics.leaseRenewals.add()
            response.header = context.header
            response.ttl = seconds
            call.respond(response)
        } catch {
            call.fail(error)
        }
    }

    // MARK: - What others may know

    private func inspect(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(Berth_V1_InspectRequest.self, request, call) else { return }
        let name = [UInt8](decoded.name)
        let limit: Int
        let caller: Caller?
        do throws(EtcdError) {
            try name.withRawBytes { name throws(EtcdError) in try RequestCheck.checkName(name) }
            limit = try ReportLimit.checked(decoded.limit)
            caller = try context.access.permit(call, .read, QueueKey.line(name))
        } catch {
            return call.fail(error)
        }
        context.ask {
            $0.report(line: name, limit: limit)
        } _: { result in
            tell(call, caller, result) { (context, report) throws(EtcdError) in
                var response = Berth_V1_InspectResponse()
                response.header = context.header(revision: report.revision)
                for place in report.places { response.places.append(try context.place(place)) }
                response.holders = Int64(report.holders)
                response.waiters = Int64(report.waiters)
                return response
            }
        }
    }

    private func list(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(Berth_V1_ListRequest.self, request, call) else { return }
        let limit: Int
        let prefix = [UInt8](decoded.prefix)
        let caller: Caller?
        do throws(EtcdError) {
            limit = try ReportLimit.checked(decoded.limit)
            caller = try context.access.permit(call, .read, KeyRange(prefix: prefix))
        } catch {
            return call.fail(error)
        }
        let after = decoded.after.isEmpty ? nil : [UInt8](decoded.after)
        context.ask {
            $0.reports(prefix: prefix, after: after, limit: limit, places: 1)
        } _: { result in
            tell(call, caller, result) { (context, found) throws(EtcdError) in
                var response = Berth_V1_ListResponse()
                response.header = context.header(revision: found.revision)
                response.more = found.isMore
                for line in found.lines {
                    var summary = Berth_V1_LockSummary()
                    summary.name = Data(line.name)
                    summary.holders = Int64(line.holders)
                    summary.waiters = Int64(line.waiters)
                    if let first = line.places.first { summary.first = try context.place(first) }
                    response.locks.append(summary)
                }
                return response
            }
        }
    }

    /// Puts a long answer together off the event loop, for a caller who was judged.
    private func tell<Report: Sendable>(
        _ call: ServerCall, _ caller: Caller?, _ result: Result<Report, EtcdError>,
        _ response: @escaping @Sendable (ServerContext, Report) throws(EtcdError) -> some Message
    ) {
        switch result {
        case .success(let report):
            context.answer(call) { context throws(EtcdError) in
                let response = try response(context, report)
                try context.access.confirm(caller)
                return try EtcdError.encoding { try response.serializedBytes() }
            }
        case .failure(let error): call.fail(error)
        }
    }

    // MARK: - Break

    private func breakPlace(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        let caller: Caller?
        do {
            _ = try RequestCheck.breakPlace(request, alarms: context.alarms)
            caller = try context.access.caller(of: call)
        } catch {
            return call.fail(error)
        }
        let payload = [UInt8](request) + BreakView.suffix(at: ServerContext.wallClock())
        context.propose(.lockBreak, payload, for: caller?.author) { call.answer($0) }
    }

    private func end<Value>(
        _ call: ServerCall, _ result: Result<Value, EtcdError>, _ response: (Value) -> some Message
    ) {
        switch result {
        case .success(let value): call.respond(response(value))
        case .failure(let error): call.fail(error)
        }
    }
}

/// How much one answer may tell of lines: the log thread puts it together.
enum ReportLimit {
    private static let standard = 1_000
    private static let maximum = 10_000

    static func checked(_ limit: Int64) throws(EtcdError) -> Int {
        guard 0...Int64(maximum) ~= limit else {
            throw .invalidLockRequest("limit is \(limit); expected 0 to \(maximum)")
        }
        return limit == 0 ? standard : Int(limit)
    }
}

extension TimeAmount {
    /// How long a caller waits; nil without bound. Longer than a year is a year.
    init?(patience milliseconds: Int64?) {
        guard let milliseconds else { return nil }
        self = .milliseconds(min(milliseconds, 366 * 86_400_000))
    }
}
