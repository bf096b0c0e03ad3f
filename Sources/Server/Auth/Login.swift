import EtcdAPI
import GRPCTransport
import Identity
import Measures
import NIOCore
import StateMachine
import SwiftProtobuf
import Vocabulary

/// `etcdserverpb.Auth/Authenticate`: a password for a token.
///
/// An unknown user and a wrong password get one answer after one and the same work, so that nobody learns names by asking.
struct Login: Sendable {
    /// Changes of users that may come between the comparison and the log before the caller is told to try again.
    private static let maximumTries = 16

    let context: ServerContext

    private var access: AccessControl { context.access }

    func authenticate(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(Etcdserverpb_AuthenticateRequest.self, request, call) else { return }
        guard access.table.isEnabled else { return call.fail(EtcdError.authNotEnabled) }
        compare(AuthName(decoded.name), Array(decoded.password.utf8), call, tries: Self.maximumTries)
    }

    /// What the work on a thread of the desk came to.
    private enum Outcome: Sendable {
        case wrong
        case right
        case signed(String)
        case failed(EtcdError)
    }

    private func compare(_ name: AuthName, _ password: [UInt8], _ call: ServerCall, tries: Int) {
        access.passwords.admit(name, for: call) {
            let state = access.table.state
            let user = state.users[name]
            // This answer tells that there is such a user, so it counts as a wrong password does.
            guard user?.hasNoPassword != true else {
                access.passwords.failed(name)
                return call.fail(EtcdError.passwordOfNoPasswordUser)
            }
            work(name, password, user, state, call, tries: tries)
        } refused: {
            call.fail(EtcdError.tooManyRequests)
        }
    }

    private func work(
        _ name: AuthName, _ password: [UInt8], _ user: AuthUser?, _ state: AuthState, _ call: ServerCall, tries: Int
    ) {
        guard state.isEnabled else {
            access.passwords.succeeded(name)
            return call.fail(EtcdError.authNotEnabled)
        }
        // Someone without any right password costs as much as someone with one.
        let hash = user.flatMap { $0.password.isEmpty ? nil : $0.password }
        let compared = hash ?? access.passwords.hashOfNobody(state)
        let kind = access.tokens.kind
        access.passwords.run(for: call) { () -> Outcome in
            guard PasswordHash.matches(password, compared), hash != nil else { return .wrong }
            guard case .signed(let tokens) = kind else { return .right }
            return Self.sign(tokens, name, state.revision)
        } _: { result in
            if case .success(.wrong) = result {
                access.passwords.failed(name)
            } else {
                access.passwords.succeeded(name)
            }
            switch result {
            case .success(.right): order(name, password, state, call, tries: tries)
            case .success(.wrong):
                context.metrics.authenticationFailures.add()
                call.fail(EtcdError.authenticationFailed)
            case .success(.signed(let token)): answer(token, context.header, call)
            case .success(.failed(let error)), .failure(let error): call.fail(error)
            }
        }
    }

    private static func sign(_ tokens: JWTTokens, _ name: AuthName, _ revision: UInt64) -> Outcome {
        do {
            let now = Double(ServerContext.wallClock()) / 1_000
            guard let token = try tokens.sign(username: name.description, revision: revision, now: now) else {
                return .failed(.tokensVerifiedOnly)
            }
            return .signed(token)
        } catch {
            return .failed(.internalError("a token could not be signed"))
        }
    }

    /// Has the log give the token its number. It refuses when users were changed meanwhile: then the comparison counts only
    /// if the password is still the one that was compared.
    private func order(
        _ name: AuthName, _ password: [UInt8], _ state: AuthState, _ call: ServerCall, tries: Int
    ) {
        let token = SimpleToken()
        let entry = AuthenticateEntry(user: name, tokenDigest: token.digest, authRevision: state.revision)
        context.propose(.authenticate, entry.encoded()) { result in
            switch result {
            case .response(let bytes):
                guard let numbered = try? Etcdserverpb_AuthenticateResponse(serializedBytes: bytes),
                    let number = UInt64(numbered.token)
                else { return call.fail(EtcdError.internalError("the state machine's answer is malformed")) }
                answer(token.text(number: number), numbered.header, call)
            case .failure(.authRevisionOld) where tries > 0:
                let now = access.table.state
                if let user = now.users[name], !user.hasNoPassword, user.password == state.users[name]?.password {
                    return order(name, password, now, call, tries: tries - 1)
                }
                compare(name, password, call, tries: tries - 1)
            case .failure(let error): call.fail(error)
            case .entered, .skipped: preconditionFailure("a login is answered with a message")
            }
        }
    }

    private func answer(_ token: String, _ header: Etcdserverpb_ResponseHeader, _ call: ServerCall) {
        var response = Etcdserverpb_AuthenticateResponse()
        response.header = header
        response.token = token
        call.respond(response)
    }
}
