import EtcdAPI
import GRPCTransport
import Gateway
import NIOCore
import StateMachine
import SwiftProtobuf

#if canImport(Glibc)
    import Glibc
#endif
#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Methods without a store behind them: they read and check a request as the server's do, and answer in each of the
/// ways a handler can.
enum FuzzServices {
    static let limits = Limits()
    static let alarms = AlarmSet()

    /// A fault put in on purpose, three steps deep, to see the fuzzer find it: `tools/fuzz TARGET --planted`.
    static let isPlanted = getenv("FUZZ_PLANTED") != nil

    static func stumble(over txn: TxnRequestView) {
        guard isPlanted, txn.compares.count == 1, txn.success.count == 2 else { return }
        preconditionFailure("the planted fault")
    }

    static let table: ServiceTable = {
        var table = ServiceTable()
        checked(&table, "KV/Put") { bytes throws(EtcdError) in
            try RequestCheck.put(bytes, limits: limits, alarms: alarms).value.count
        }
        checked(&table, "KV/Range") { bytes throws(EtcdError) in try RequestCheck.range(bytes).key.count }
        checked(&table, "KV/DeleteRange") { bytes throws(EtcdError) in
            try RequestCheck.deleteRange(bytes, limits: limits, alarms: alarms).key.count
        }
        checked(&table, "KV/Txn") { bytes throws(EtcdError) in
            let txn = try RequestCheck.txn(bytes, limits: limits, alarms: alarms)
            stumble(over: txn)
            return txn.success.count
        }
        checked(&table, "Lease/LeaseGrant") { bytes throws(EtcdError) in
            Int(try RequestCheck.leaseGrant(bytes, alarms: alarms).timeToLive & 0xff)
        }
        // Streams: answers to each message, answers at the end, answers as long as there is room, reads now and then.
        table.streaming("/etcdserverpb.Watch/Watch") { call in
            call.onMessage = { [unowned call] message in
                guard let request = try? Etcdserverpb_WatchRequest(serializedBytes: message) else {
                    return call.fail(GRPCStatus(.invalidArgument, "not a watch request"))
                }
                call.send(Array((try? request.serializedData()) ?? Data()))
            }
        }
        table.streaming("/etcdserverpb.Lease/LeaseKeepAlive") { call in
            call.onMessage = { [unowned call] in
                call.send($0)
                call.isReadingPaused = true
                call.eventLoop.assumeIsolated().scheduleTask(in: .seconds(1)) { [weak call] in
                    call?.isReadingPaused = false
                }
            }
            call.onHalfClose = { [unowned call] in call.finish() }
        }
        table.streaming("/etcdserverpb.Maintenance/Snapshot") { call in
            var left = 32
            func produce() {
                while left > 0, call.hasRoom {
                    left -= 1
                    call.send([UInt8](repeating: 7, count: 32 << 10))
                }
                if left == 0 { call.finish() }
            }
            call.onRoom = { produce() }
            call.onCancel = { _ in left = 0 }
            call.onHalfClose = { produce() }
        }
        return table
    }()

    private static func checked(
        _ table: inout ServiceTable, _ method: String,
        _ check: @escaping @Sendable (UnsafeRawBufferPointer) throws(EtcdError) -> Int
    ) {
        table.unary("/etcdserverpb." + method) { call, request in
            do throws(EtcdError) {
                call.respond([UInt8](repeating: 1, count: min(try check(request), 1_024)))
            } catch {
                call.fail(GRPCStatus(.invalidArgument, "\(call.metadata("token") ?? ""): \(error)"))
            }
        }
    }

    private static let gateway = Gateway(services: table, maxMessageBytes: 2 << 20)

    /// Plain HTTP: the gateway before the same methods; everything else is an echo that takes its time.
    static let plain: @Sendable (HTTPExchange) -> Void = { exchange in
        let target = exchange.head.target
        if target.hasPrefix("/v3/") {
            return gateway.respond(to: exchange, path: String(target.dropFirst(4).prefix { $0 != "?" }))
        }
        var body: [UInt8] = []
        exchange.onBody = { body += $0.prefix(max(0, 1_024 - body.count)) }
        exchange.onEnd = { [unowned exchange] in
            exchange.answer(HTTPResponse(status: 200, body: Array(exchange.head.method.utf8) + body))
        }
    }
}
