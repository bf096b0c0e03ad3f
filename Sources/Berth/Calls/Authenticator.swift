import EtcdAPI
import SwiftProtobuf
import Synchronization

/// Gets the token that proves user and password, once for all calls, and again when the servers do not take it any
/// more. At most one request for a token is on its way: passwords are expensive to check.
final class Authenticator: Sendable {
    private struct State {
        var token: String?
        /// Counts tokens: a call that failed with an old one does not throw away the new.
        var generation = 0
    }

    /// A token as a call uses it; empty when there are no users.
    struct Token: Sendable {
        var text: String
        var generation: Int
    }

    private let credentials: BerthConfiguration.Credentials
    private let state = Mutex(State())
    private let turnstile = Turnstile()

    init(_ credentials: BerthConfiguration.Credentials) { self.credentials = credentials }

    /// The token to call with; fetched when there is none.
    func token(from caller: Caller) async throws(BerthError) -> Token {
        if let known { return known }
        guard await turnstile.enter() else { throw .cancelled }
        defer { turnstile.leave() }
        if let known { return known }
        let request = Etcdserverpb_AuthenticateRequest.with {
            $0.name = credentials.user
            $0.password = credentials.password
        }
        do throws(BerthError) {
            let answer = try await caller.call(Methods.authenticate, request, options: .init(isAuthenticated: false))
            return keep(answer.token)
        } catch .server(_, let message) where message.contains("authentication is not enabled") {
            return keep("")
        } catch .unsupported {
            throw .unsupported("this server knows no users and passwords: leave the credentials out")
        }
    }

    /// A call with this token was refused for it.
    func refused(_ token: Token) {
        state.withLock { state in
            if state.generation == token.generation { state.token = nil }
        }
    }

    private var known: Token? {
        state.withLock { state in state.token.map { Token(text: $0, generation: state.generation) } }
    }

    private func keep(_ text: String) -> Token {
        state.withLock { state in
            state.generation += 1
            state.token = text
            return Token(text: text, generation: state.generation)
        }
    }
}
