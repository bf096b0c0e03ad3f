import EtcdAPI
import GRPCTransport
import Identity
import ProtobufWire
import StateMachine
import Store
import Vocabulary

/// Knows who calls, and says what they may do. It must never let a call through that it could not judge.
///
/// Any thread, but for `caller(of:)`, which is asked on the call's event loop. With authentication off each question costs
/// one relaxed load.
final class AccessControl: Sendable {
    let table: AuthTable
    let tokens: TokenKeeper
    let passwords: PasswordDesk
    /// A client's certificate says who it is, when there is no token.
    private let takesCommonName: Bool

    init(table: AuthTable, tokens: TokenKeeper, passwords: PasswordDesk, takesCommonName: Bool) {
        self.table = table
        self.tokens = tokens
        self.passwords = passwords
        self.takesCommonName = takesCommonName
    }

    /// Who makes a call; nil while authentication is off, whatever token was sent.
    ///
    /// - Throws: `.invalidAuthToken` for a token that is not good, `.userEmpty` when the call says nothing of its caller.
    func caller(of call: ServerCall) throws(EtcdError) -> Caller? {
        guard table.isEnabled else { return nil }
        return try knownCaller(of: call)
    }

    private func knownCaller(of call: ServerCall) throws(EtcdError) -> Caller? {
        let reading = table.reading
        guard reading.state.isEnabled else { return nil }
        if let sent = call.metadata("token") ?? call.metadata("authorization") {
            let token = sent.hasPrefix("Bearer ") ? String(sent.dropFirst("Bearer ".count)) : sent
            guard let author = tokens.author(of: token, authRevision: reading.state.revision) else {
                throw .invalidAuthToken
            }
            // A signed token ends with any change of users, roles or the switch, for every method: etcd's rule.
            guard author.authRevision >= reading.state.revision else { throw .authRevisionOld }
            return Caller(author: author, reading: reading)
        }
        // Behind a gateway stands whoever may call it, not the one whose certificate this is.
        guard takesCommonName, !call.isGateway, let name = call.peerCommonName, !name.isEmpty else {
            throw .userEmpty
        }
        return Caller(
            author: Author(name: AuthName(name), authRevision: reading.state.revision), reading: reading)
    }

    /// Asked after a read, before its answer leaves: whoever was judged must still be judged alike.
    func confirm(_ caller: Caller?) throws(EtcdError) {
        if let caller {
            guard table.isCurrent(caller.reading) else { throw .authRevisionOld }
        } else {
            guard !table.isEnabled else { throw .userEmpty }
        }
    }

    /// Whether whoever makes a call may read a range, asked after what is in it was read, for what an answer may show beside
    /// what was asked for. Judged as of now, however long the call has waited; in doubt not.
    func mayShow(_ call: ServerCall, _ range: KeyRange) -> Bool {
        do throws(EtcdError) {
            let caller = try caller(of: call)
            try caller?.permit(.read, range)
            try confirm(caller)
            return true
        } catch {
            return false
        }
    }

    /// Refuses whoever may not read, or write, a range; tells who it is, for `confirm`.
    @discardableResult
    func permit(_ call: ServerCall, _ access: AuthState.Access, _ range: KeyRange) throws(EtcdError) -> Caller? {
        let caller = try caller(of: call)
        try caller?.permit(access, range)
        return caller
    }

    /// Refuses whoever does not hold the role `root`.
    func permitRoot(_ call: ServerCall) throws(EtcdError) {
        guard let caller = try caller(of: call) else { return }
        try caller.state.permitRoot(caller.author)
    }
}

/// Somebody who is known, and the state by which a call of theirs is judged.
struct Caller: Sendable {
    let author: Author
    let reading: AuthTable.Reading

    var state: AuthState { reading.state }

    func permit(_ access: AuthState.Access, _ range: KeyRange) throws(EtcdError) {
        try state.permit(author, access, range)
    }

    /// Refuses whoever may not have the place that an acquire's payload asks for.
    func permit(acquire payload: [UInt8], _ leases: LeaseTable) throws(EtcdError) {
        try payload.withRawBytes { bytes throws(EtcdError) in
            let view: AcquireView
            do throws(WireError) { view = try AcquireView(bytes) } catch { throw .malformed(error) }
            try state.permit(author, acquire: view, leases, early: true)
        }
    }
}

extension KeyRange {
    /// All keys that begin alike.
    init(prefix: [UInt8]) {
        guard let last = prefix.lastIndex(where: { $0 < 0xff }) else {
            self.init(key: prefix.isEmpty ? [0] : prefix, end: [0])
            return
        }
        self.init(key: prefix, end: Array(prefix[..<last]) + [prefix[last] + 1])
    }
}

extension AuthSettings {
    /// Refuses values that no server can work with. Files that they name are read when the server starts.
    public func check() throws(SettingsError) {
        guard 1...1_000_000_000 ~= tokenTTLSeconds else {
            throw SettingsError("--auth-token-ttl is \(tokenTTLSeconds) seconds; expected 1 to 1000000000")
        }
        guard PasswordHash.costs.contains(bcryptCost) else {
            throw SettingsError("--bcrypt-cost is \(bcryptCost); expected 4 to 31")
        }
        do throws(TokenOptionError) {
            _ = try TokenOptions(token)
        } catch {
            throw SettingsError(error.description)
        }
    }

    /// The tokens these settings ask for, with the keys they name.
    func makeTokens() async throws -> TokenKeeper {
        try check()
        switch try TokenOptions(token) {
        case .simple: return TokenKeeper(.simple(timeToLive: .seconds(tokenTTLSeconds)))
        case .jwt(let options): return TokenKeeper(.signed(try await JWTTokens(options)))
        }
    }
}
