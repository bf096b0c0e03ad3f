import FoundationEssentials
import Identity
import Testing

/// Keys made for these tests and used nowhere else, in a folder of their own.
private final class Keys {
    let folder: URL

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "berth-jwt-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        for (name, contents) in TestKeys.files {
            try Data(contents.utf8).write(to: folder.appending(path: name))
        }
    }

    deinit { try? FileManager.default.removeItem(at: folder) }

    func file(_ name: String) -> String { folder.appending(path: name).path }

    func tokens(_ method: String, _ parameters: [String: String], ttl: String = "5m") async throws -> JWTTokens {
        let files = parameters.sorted { $0.key < $1.key }.map { ",\($0.key)=\(file($0.value))" }.joined()
        let options = try TokenOptions("jwt,sign-method=\(method),ttl=\(ttl)" + files)
        guard case .jwt(let jwt) = options else { throw TokenOptionErrorExpected() }
        return try await JWTTokens(jwt)
    }
}

private struct TokenOptionErrorExpected: Error {}

@Suite struct JWTTests {
    @Test(arguments: [
        ("RS256", "rsa"), ("RS384", "rsa"), ("RS512", "rsa"), ("PS256", "rsa"), ("PS384", "rsa"), ("PS512", "rsa"),
        ("ES256", "p256"), ("ES384", "p384"), ("ES512", "p521"), ("HS256", "secret"), ("HS384", "secret"),
        ("HS512", "secret"),
    ])
    func `a token says what was signed, until its time is up`(method: String, key: String) async throws {
        let keys = try Keys()
        let tokens = try await keys.tokens(method, ["priv-key": key])
        let token = try #require(try tokens.sign(username: "ann", revision: 7, now: 1_000.5))
        let claims = try #require(tokens.verify(token, now: 1_001))
        #expect(claims.username == "ann" && claims.revision == 7 && claims.expiry == 1_300)
        #expect(tokens.verify(token, now: 1_299.9) == claims)
        #expect(tokens.verify(token, now: 1_300) == nil)
        #expect(tokens.verify(token + "x", now: 1_001) == nil)
        let parts = token.split(separator: ".")
        #expect(tokens.verify("\(parts[0]).\(parts[1].dropLast(2))AA.\(parts[2])", now: 1_001) == nil)
        for nonsense in ["", ".", "..", "a.b.c", "abcdefghijklmnop.4"] {
            #expect(tokens.verify(nonsense, now: 1_001) == nil)
        }
    }

    @Test func `a public key verifies and does not sign`() async throws {
        let keys = try Keys()
        for (method, name) in [("RS256", "rsa"), ("ES256", "p256")] {
            let signer = try await keys.tokens(method, ["priv-key": name, "pub-key": name + ".pub"])
            let verifier = try await keys.tokens(method, ["pub-key": name + ".pub"])
            let token = try #require(try signer.sign(username: "ann", revision: 1, now: 0))
            #expect(verifier.verify(token, now: 1)?.username == "ann")
            #expect(!verifier.canSign)
            #expect(try verifier.sign(username: "ann", revision: 1, now: 0) == nil)
        }
    }

    @Test func `a token of another key or another method is nobody's`() async throws {
        let keys = try Keys()
        let mine = try await keys.tokens("HS256", ["priv-key": "secret"])
        let other = try await keys.tokens("HS256", ["priv-key": "secret2"])
        let longer = try await keys.tokens("HS512", ["priv-key": "secret"])
        let token = try #require(try other.sign(username: "root", revision: 1, now: 0))
        #expect(mine.verify(token, now: 1) == nil)
        #expect(mine.verify(try #require(try longer.sign(username: "root", revision: 1, now: 0)), now: 1) == nil)
        // {"alg":"none","typ":"JWT"} and no signature.
        let unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + token.split(separator: ".")[1] + "."
        #expect(mine.verify(unsigned, now: 1) == nil)
    }

    /// Made elsewhere with the key `secret`: {"username": "ann", "revision": 3, "exp": 2000, "nbf": 100}.
    @Test func `tokens of other makers are understood`() async throws {
        let keys = try Keys()
        let tokens = try await keys.tokens("HS256", ["priv-key": "secret"])
        #expect(tokens.verify(TestKeys.foreignToken, now: 200)?.revision == 3)
        #expect(tokens.verify(TestKeys.foreignToken, now: 50) == nil)
        #expect(tokens.verify(TestKeys.foreignToken, now: 2_000) == nil)
    }

    @Test(arguments: [
        ("", "is no kind of token"), ("token", "is no kind of token"), ("simple,ttl=5m", "takes no parameters"),
        ("jwt", "sign-method is missing"), ("jwt,sign-method=EdDSA", "sign-method 'EdDSA'"),
        ("jwt,sign-method=none", "sign-method 'none'"), ("jwt,sign-method", "is no parameter"),
        ("jwt,sign-method=RS256,sign-method=RS256", "given twice"),
        ("jwt,sign-method=RS256,key=x", "key is no parameter"),
        ("jwt,sign-method=RS256,ttl=5", "ttl '5'"), ("jwt,sign-method=RS256,ttl=-5m", "ttl '-5m'"),
        ("jwt,sign-method=RS256,ttl=0s", "ttl '0s'"),
    ])
    func `what cannot be used is refused by name`(text: String, reason: String) {
        do {
            _ = try TokenOptions(text)
            Issue.record("\(text) was taken")
        } catch {
            #expect(error.description.contains(reason), "\(error)")
            #expect(error.description.hasPrefix("--auth-token: "))
        }
    }

    @Test func `times are read as Go writes them`() throws {
        for (text, seconds) in [("5m", 300), ("1h30m", 5_400), ("90s", 90), ("1.5h", 5_400), ("2h0m1s", 7_201)] {
            guard case .jwt(let options) = try TokenOptions("jwt,sign-method=HS256,ttl=\(text)") else { continue }
            #expect(options.timeToLive == .seconds(seconds), "\(text)")
        }
    }

    @Test func `keys that are missing, of another kind or do not fit are refused without being quoted`() async throws {
        let keys = try Keys()
        func refusal(_ method: String, _ parameters: [String: String]) async -> String {
            do {
                _ = try await keys.tokens(method, parameters)
                return ""
            } catch {
                return "\(error)"
            }
        }
        #expect(await refusal("RS256", [:]).contains("needs a key"))
        #expect(await refusal("HS256", [:]).contains("needs priv-key"))
        #expect(await refusal("HS256", ["priv-key": "short"]).contains("has 31 bytes; HS256 takes 32 at least"))
        #expect(await refusal("RS256", ["priv-key": "absent"]).contains("cannot be read"))
        #expect(await refusal("RS256", ["priv-key": "p256"]).contains("has no key for RS256"))
        #expect(await refusal("ES384", ["priv-key": "p256"]).contains("has no key for ES384"))
        #expect(await refusal("RS256", ["priv-key": "rsa", "pub-key": "rsa2.pub"]).contains("do not belong together"))
        #expect(!(await refusal("RS256", ["priv-key": "secret"]).contains("a shared secret")))
    }
}
