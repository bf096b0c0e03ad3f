import ArgumentParser
import Berth

#if canImport(Glibc)
    import Glibc
#endif

/// The lock a command runs under, from its environment or from options: the proof for guarded writes.
struct LockHandle: ParsableArguments {
    @Flag(help: "Act as holder of the lock this command runs under ($BERTH_LOCK_KEY, $BERTH_LOCK_TOKEN).")
    var withLock = false

    @Option(help: ArgumentHelp("Act as holder: the lock's owner key.", valueName: "key"))
    var lockKey: String?

    @Option(help: ArgumentHelp("Act as holder: the fencing token.", valueName: "number"))
    var lockToken: Int64?

    func validate() throws {
        guard (lockKey == nil) == (lockToken == nil) else {
            throw ValidationError("--lock-key and --lock-token belong together; one of them is missing")
        }
    }

    /// The lock; nil when none was asked for.
    func lock(_ client: BerthClient) throws(Failure) -> Lock? {
        if let lockKey, let lockToken { return try Self.lock(client, key: lockKey, token: lockToken) }
        guard withLock else { return nil }
        guard let key = Self.variable("BERTH_LOCK_KEY"), let text = Self.variable("BERTH_LOCK_TOKEN") else {
            throw Failure(
                "--with-lock finds no BERTH_LOCK_KEY and BERTH_LOCK_TOKEN; run this under berth lock, or give "
                    + "--lock-key and --lock-token")
        }
        guard let token = Int64(text) else {
            throw Failure("BERTH_LOCK_TOKEN is '\(text)'; expected a whole number")
        }
        return try Self.lock(client, key: key, token: token)
    }

    private static func lock(_ client: BerthClient, key: String, token: Int64) throws(Failure) -> Lock {
        guard let slash = key.lastIndex(of: "/"), let lease = LeaseID(hex: key[key.index(after: slash)...]) else {
            throw Failure("'\(key)' is no owner key; expected NAME/<lease in hexadecimal>")
        }
        return client.locks.handle(
            String(key[..<slash]), key: Bytes(key), token: token, lease: lease,
            timeToLive: .seconds(variable("BERTH_LOCK_TTL").flatMap { Int64($0) } ?? 0))
    }

    private static func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
}
