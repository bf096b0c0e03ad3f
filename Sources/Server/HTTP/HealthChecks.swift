import EtcdAPI
import GRPCTransport
import ReplicatedLog
import StateMachine
import Store
import SwiftProtobuf

/// `/health`, `/livez` and `/readyz`, as etcd answers them. They are for probes: no user is asked for, and what they look at
/// is small enough for an event loop.
struct HealthChecks: Sendable {
    let context: ServerContext

    /// One thing that can be well or not.
    enum Check: String, CaseIterable, Sendable {
        case dataCorruption = "data_corruption"
        case serializableRead = "serializable_read"
        case linearizableRead = "linearizable_read"
        case nonLearner = "non_learner"
    }

    private static let live: [Check] = [.serializableRead]
    private static let ready: [Check] = [.dataCorruption, .serializableRead, .linearizableRead, .nonLearner]

    /// The checks a path stands for; nil for any other path.
    func checks(at path: String) -> [Check]? {
        for (root, checks) in [("/livez", Self.live), ("/readyz", Self.ready)] {
            if path == root { return checks }
            guard path.hasPrefix(root + "/") else { continue }
            let name = path.dropFirst(root.count + 1)
            return checks.first { $0.rawValue == name }.map { [$0] }
        }
        return nil
    }

    /// Why a check fails; nil when it does not.
    private func failure(_ check: Check) -> String? {
        switch check {
        case .dataCorruption: context.alarms.contains(.corrupt) ? "alarm activated: CORRUPT" : nil
        case .serializableRead: readFailure(isLinearizable: false)
        case .linearizableRead: readFailure(isLinearizable: true)
        case .nonLearner: nil  // A single member votes.
        }
    }

    /// Runs checks; those the query excludes are left out, but for one asked for by its own path.
    func report(_ checks: [Check], _ target: HTTPTarget) -> HTTPResponse {
        let excluded = target.values("exclude")
        let type = target.path.hasPrefix("/livez") ? "livez" : "readyz"
        // A path of one check's own runs it whatever is excluded.
        let isWholeList = target.path == "/" + type
        var lines = ""
        var isHealthy = true
        for check in checks where !isWholeList || !excluded.contains(check.rawValue) {
            let failure = failure(check)
            context.metrics.health.checked(type, check.rawValue, isSuccess: failure == nil)
            if let failure {
                isHealthy = false
                lines += "[-]\(check.rawValue) failed: \(failure)\n"
            } else {
                lines += "[+]\(check.rawValue) ok\n"
            }
        }
        guard isHealthy else { return .text(503, lines + "\n") }
        return .text(200, (target.value("verbose") != nil ? lines : "") + "ok\n")
    }

    /// The older page.
    func health(_ target: HTTPTarget) -> HTTPResponse {
        let excluded = target.values("exclude")
        let isSerializable = target.value("serializable") == "true"
        let reason: String
        if let alarm = context.alarms.list().map(\.kind.etcdName).first(where: { !excluded.contains($0) }) {
            reason = "ALARM \(alarm)"
        } else if !isSerializable, !context.log.status.isLeader {
            reason = "RAFT NO LEADER"
        } else if let failure = readFailure(isLinearizable: !isSerializable) {
            reason = "RANGE ERROR:\(failure)"
        } else {
            context.metrics.health.answered(isHealthy: true)
            return HTTPResponse(
                status: 200, headers: [(name: "Content-Type", value: "text/plain; charset=utf-8")],
                body: Array("{\"health\":\"true\",\"reason\":\"\"}".utf8))
        }
        context.metrics.health.answered(isHealthy: false)
        return .text(503, "{\"health\":\"false\",\"reason\":\"\(Self.escaped(reason))\"}\n")
    }

    /// What a small read comes to. A single member that leads reads its own store for both kinds.
    private func readFailure(isLinearizable: Bool) -> String? {
        if isLinearizable, !context.log.status.isLeader { return EtcdError.noLeader.message }
        var request = Etcdserverpb_RangeRequest()
        request.key = .init([0])
        request.limit = 1
        request.keysOnly = true
        request.serializable = !isLinearizable
        do {
            let bytes: [UInt8] = try request.serializedBytes()
            _ = try bytes.withRawBytes { buffer throws(EtcdError) in
                try context.range(try RequestCheck.range(buffer))
            }
            return nil
        } catch let error as EtcdError {
            return error.message
        } catch {
            return "\(error)"
        }
    }

    private static func escaped(_ text: String) -> String {
        text.reduce(into: "") { escaped, character in
            if character == "\"" || character == "\\" { escaped.append("\\") }
            escaped.append(character == "\n" ? " " : character)
        }
    }
}
