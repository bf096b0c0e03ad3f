import FoundationEssentials
import JWTKit

/// What a signed token says.
public struct TokenClaims: Hashable, Sendable {
    /// Whose it is.
    public let username: String
    /// The auth revision at which it was signed.
    public let revision: UInt64
    /// When it ends, in seconds since 1970; nil for one that does not.
    public let expiry: Double?
}

/// Tokens that carry what they say and are signed (RFC 7519), as etcd's `--auth-token jwt,…` makes and takes them.
///
/// Any thread; what takes long is `sign` with an RSA key, about a millisecond.
public struct JWTTokens: Sendable {
    /// The way tokens are signed.
    public let method: String
    /// How long a token lives.
    public let timeToLive: Duration
    /// False when there is a public key only: tokens are verified, and somebody else makes them.
    public let canSign: Bool
    private let algorithm: any JWTAlgorithm

    /// Reads the keys that the options name.
    ///
    /// - Throws: `TokenOptionError` naming the option that is wrong.
    public init(_ options: JWTOptions) async throws(TokenOptionError) {
        method = options.method.rawValue
        timeToLive = options.timeToLive
        let keys = JWTKeyCollection()
        do {
            canSign = try await JWTKeyFiles(options).add(to: keys)
            algorithm = try await keys.getKey()
        } catch let error as TokenOptionError {
            throw error
        } catch {
            throw TokenOptionError("no key for sign-method \(options.method.rawValue): \(error)")
        }
    }

    /// A token; nil when there is no private key.
    ///
    /// - Parameter now: the time of day, in seconds since 1970.
    public func sign(username: String, revision: UInt64, now: Double) throws -> String? {
        guard canSign else { return nil }
        let end = now.rounded(.down) + Double(timeToLive.components.seconds)
        let payload = Payload(username: username, revision: revision, exp: end)
        let header = Base64URL.encode(Array("{\"alg\":\"\(method)\",\"typ\":\"JWT\"}".utf8))
        let signed = header + "." + String(decoding: try DefaultJWTSerializer().serialize(payload), as: UTF8.self)
        return signed + "." + Base64URL.encode(try algorithm.sign(Array(signed.utf8)))
    }

    /// What a token says; nil when it is not signed by this key in this way, says too little, or is not good yet or any
    /// more.
    ///
    /// - Parameter now: the time of day, in seconds since 1970.
    public func verify(_ token: String, now: Double) -> TokenClaims? {
        let bytes = Array(token.utf8)
        guard let end = bytes.lastIndex(of: UInt8(ascii: ".")),
            let parsed = try? DefaultJWTParser().parse(bytes, as: Payload.self), parsed.header.alg == method,
            (try? algorithm.verify(parsed.signature, signs: bytes[..<end])) == true
        else { return nil }
        let payload = parsed.payload
        guard payload.exp ?? .infinity > now, payload.nbf ?? 0 <= now, payload.iat ?? 0 <= now else { return nil }
        return TokenClaims(username: payload.username, revision: payload.revision, expiry: payload.exp)
    }

    /// The claims etcd writes, and those it looks at in tokens of others.
    private struct Payload: JWTPayload {
        let username: String
        let revision: UInt64
        let exp: Double?
        let nbf: Double?
        let iat: Double?

        private enum Key: String, CodingKey {
            case username
            case revision
            case exp
            case nbf
            case iat
        }

        init(username: String, revision: UInt64, exp: Double) {
            self.username = username
            self.revision = revision
            self.exp = exp
            nbf = nil
            iat = nil
        }

        init(from decoder: any Decoder) throws {
            let container = try decoder.container(keyedBy: Key.self)
            username = try container.decode(String.self, forKey: .username)
            // A number that another maker wrote may have a point.
            let number = try container.decode(Double.self, forKey: .revision)
            guard let exact = UInt64(exactly: number.rounded(.down)) else {
                throw DecodingError.dataCorruptedError(
                    forKey: .revision, in: container, debugDescription: "the revision is no count")
            }
            revision = exact
            exp = try container.decodeIfPresent(Double.self, forKey: .exp)
            nbf = try container.decodeIfPresent(Double.self, forKey: .nbf)
            iat = try container.decodeIfPresent(Double.self, forKey: .iat)
        }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: Key.self)
            try container.encode(username, forKey: .username)
            try container.encode(revision, forKey: .revision)
            if let exp { try container.encode(Int64(exp), forKey: .exp) }
        }

        func verify(using algorithm: some JWTAlgorithm) async throws {}
    }
}

/// Base64 with the alphabet for addresses and without padding (RFC 4648, section 5).
private enum Base64URL {
    static func encode(_ bytes: some DataProtocol) -> String {
        let standard = Data(bytes).base64EncodedString()
        return String(
            standard.compactMap { character -> Character? in
                switch character {
                case "+": "-"
                case "/": "_"
                case "=": nil
                default: character
                }
            })
    }
}
