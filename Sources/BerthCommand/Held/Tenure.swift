import Berth
import CommandText
import Supervision

/// A lock or a leadership that is held, as far as running a command under it goes.
struct Tenure: Sendable {
    /// What others call it.
    let name: String
    let key: Bytes
    let token: Int64
    let leaseID: LeaseID
    let timeToLive: Duration
    let waited: Duration
    let ahead: Int
    let remaining: @Sendable () -> Duration
    let lost: @Sendable () async -> BerthError?
    let release: @Sendable () async throws(BerthError) -> ReleaseOutcome

    init(_ lock: Lock) {
        name = lock.name
        key = lock.key
        token = lock.token
        leaseID = lock.leaseID
        timeToLive = lock.timeToLive
        waited = lock.waited
        ahead = lock.ahead
        remaining = { lock.remaining }
        lost = { await lock.lost }
        release = { () async throws(BerthError) in try await lock.release() }
    }

    init(_ leadership: Leadership) {
        name = leadership.name
        key = leadership.key
        token = leadership.token
        leaseID = leadership.leaseID
        timeToLive = leadership.timeToLive
        waited = leadership.waited
        ahead = leadership.ahead
        remaining = { leadership.remaining }
        lost = { await leadership.lost }
        release = { () async throws(BerthError) in try await leadership.resign() }
    }

    /// What a command finds in its environment. The last two are etcdctl's names.
    var variables: [String: String] {
        [
            "BERTH_LOCK_NAME": name, "BERTH_LOCK_KEY": key.string ?? key.description, "BERTH_LOCK_TOKEN": "\(token)",
            "BERTH_LOCK_LEASE": leaseID.description, "BERTH_LOCK_TTL": "\(timeToLive.components.seconds)",
            "ETCD_LOCK_KEY": key.string ?? key.description, "ETCD_LOCK_REV": "\(token)",
        ]
    }

    /// The handle as one line that a shell can evaluate.
    var line: String {
        let names = ["NAME", "KEY", "TOKEN", "LEASE", "TTL"].map { "BERTH_LOCK_\($0)" }
        return names.map { "\($0)=\(ShellWord.quoted(variables[$0] ?? ""))" }.joined(separator: " ")
    }

    /// The handle for scripts.
    var json: JSON {
        .object([
            .init("name", name), .init("key", key), .init("token", token), .init("lease", .lease(leaseID)),
            .init("ttl_ms", milliseconds: timeToLive), .init("waited_ms", milliseconds: waited), .init("ahead", ahead),
        ])
    }
}

/// How a command under a tenure ended.
enum TenureEnd {
    /// By itself, and the place was given up.
    case ended(CommandEnd)
    /// The place was lost; the words say why and what became of the command.
    case lost(String)
}

extension Tenure {
    /// Runs a command while this is held, then gives it up.
    ///
    /// - Throws: `ChildProcess.StartFailure`, having given it up too.
    func run(
        _ command: [String], variables: [String: String], grace: Duration?, signals: SignalRouter
    ) async throws -> TenureEnd {
        let lost = lost
        let lease = RunningCommand.Lease(
            timing: LeaseTiming(timeToLive: timeToLive, grace: grace), remaining: remaining,
            lost: {
                guard let error = await lost() else { return nil }
                if case .lockLost(_, let reason?) = error { return reason }
                return error.description
            })
        let name = name
        let outcome: CommandOutcome
        do throws(ChildProcess.StartFailure) {
            outcome = try await RunningCommand.run(
                command, variables: variables.merging(self.variables) { $1 }, lease: lease, signals: signals,
                guardProgram: GuardCommand.program,
                report: { Output.complain("\(name) is lost: \($0); ending the command") })
        } catch {
            await releaseQuietly()
            throw error
        }
        switch outcome {
        case .lost(let reason, let end):
            await releaseQuietly()
            return .lost("\(name) was lost: \(reason); the command \(end)")
        case .ended(let end): return await release(after: end)
        }
    }

    private func release(after end: CommandEnd) async -> TenureEnd {
        let wasHeld = remaining() > .zero
        do throws(BerthError) {
            guard case .lostBefore(let event) = try await release() else { return .ended(end) }
            let why = event.map { ": \($0.kind.word)\($0.reason.isEmpty ? "" : " by \($0.by), \($0.reason)")" } ?? ""
            return .lost("\(name) had been lost when the command \(end)\(why)")
        } catch {
            guard wasHeld else { return .lost("\(name) had run out when the command \(end)") }
            // Held until the command ended; nobody else gets in before the lease has run out.
            Output.complain("cannot release \(name), which runs out by itself: \(error)")
            return .ended(end)
        }
    }

    /// Gives it up where nothing depends on whether that works.
    private func releaseQuietly() async {
        do throws(BerthError) { _ = try await release() } catch {
            // It runs out with its lease.
        }
    }
}
