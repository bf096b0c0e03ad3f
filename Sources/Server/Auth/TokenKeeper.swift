import EtcdAPI
import FoundationEssentials
import Identity
import StateMachine
import Synchronization
import Vocabulary

/// The tokens by which callers are known. Each call holds the lock for one short operation and calls nobody.
///
/// Simple tokens follow the log's entries, on the log thread and before the answers of a batch leave, so that a password
/// that was changed ends them all, those included that were made just before. Signed tokens are remembered once they were
/// verified; `maximumVerified` of them, then all are verified anew.
final class TokenKeeper: Sendable {
    /// What kind of tokens there are.
    enum Kind: Sendable {
        case simple(timeToLive: Duration)
        case signed(JWTTokens)
    }

    private static let maximumVerified = 16_384

    let kind: Kind
    private let simple: Mutex<TokenTable>
    private let verified = Mutex<[[UInt8]: TokenClaims]>([:])

    init(_ kind: Kind) {
        self.kind = kind
        switch kind {
        case .simple(let timeToLive): simple = Mutex(TokenTable(timeToLive: timeToLive))
        case .signed: simple = Mutex(TokenTable(timeToLive: .seconds(1)))
        }
    }

    /// Whom a token stands for; nil when it is not good. A simple one stands for its user as of now, a signed one for the auth
    /// revision it was signed at.
    func author(of token: String, authRevision: UInt64) -> Author? {
        switch kind {
        case .simple:
            guard let (digest, number) = SimpleToken.read(token),
                let user = simple.withLock({ $0.use(number, digest: digest, now: LeaseKeeper.now()) })
            else { return nil }
            return Author(name: AuthName(user), authRevision: authRevision)
        case .signed(let tokens):
            guard let claims = claims(of: token, tokens) else { return nil }
            return Author(name: AuthName(claims.username), authRevision: claims.revision)
        }
    }

    private func claims(of token: String, _ tokens: JWTTokens) -> TokenClaims? {
        let now = Double(ServerContext.wallClock()) / 1_000
        let digest = SimpleToken.digest(of: Array(token.utf8))
        if let known = verified.withLock({ $0[digest] }) {
            if known.expiry ?? .infinity > now { return known }
            verified.withLock { $0[digest] = nil }
            return nil
        }
        guard let claims = tokens.verify(token, now: now) else { return nil }
        verified.withLock { verified in
            if verified.count >= Self.maximumVerified { verified = [:] }
            verified[digest] = claims
        }
        return claims
    }

    /// Follows what a batch of entries did to tokens.
    func follow(_ changes: [TokenChange]) {
        guard case .simple = kind else { return }
        simple.withLock { table in
            let now = LeaseKeeper.now()
            for change in changes {
                switch change {
                case .made(let user, let digest, let number):
                    table.add(number, user: user.bytes, digest: digest, now: now)
                case .ended(let user): table.end(user: user.bytes)
                case .allEnded: table.endAll()
                }
            }
        }
    }

    /// Forgets all simple tokens: a restart ends them, and so must a replay of the log that saw them made.
    func forgetAll() { simple.withLock { $0.endAll() } }
}
