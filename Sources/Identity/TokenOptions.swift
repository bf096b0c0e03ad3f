/// What `--auth-token` asks for.
public enum TokenOptions: Hashable, Sendable {
    /// Random letters that this member remembers.
    case simple
    /// Signed ones.
    case jwt(JWTOptions)

    /// Reads `simple`, or `jwt,` and its parameters: `pub-key=FILE`, `priv-key=FILE`, `sign-method=NAME`, `ttl=5m`.
    ///
    /// - Throws: `TokenOptionError` naming the parameter that is wrong.
    public init(_ text: String) throws(TokenOptionError) {
        let parts = text.split(separator: ",", omittingEmptySubsequences: false)
        var parameters: [String: String] = [:]
        for part in parts.dropFirst() {
            let pair = part.split(separator: "=", omittingEmptySubsequences: false)
            guard pair.count == 2 else {
                throw TokenOptionError("'\(part)' is no parameter; expected NAME=VALUE, such as sign-method=RS256")
            }
            guard parameters.updateValue(String(pair[1]), forKey: String(pair[0])) == nil else {
                throw TokenOptionError("\(pair[0]) is given twice; give it once")
            }
        }
        switch parts.first {
        case "simple":
            guard parameters.isEmpty else {
                throw TokenOptionError("'simple' takes no parameters; for how long they live see --auth-token-ttl")
            }
            self = .simple
        case "jwt": self = .jwt(try JWTOptions(parameters))
        default:
            throw TokenOptionError("'\(parts.first ?? "")' is no kind of token; expected 'simple' or 'jwt,PARAMETERS'")
        }
    }
}

/// How signed tokens are made and verified.
public struct JWTOptions: Hashable, Sendable {
    /// The ways to sign (RFC 7518, section 3) that etcd takes too.
    public enum Method: String, CaseIterable, Sendable {
        case rs256 = "RS256"
        case rs384 = "RS384"
        case rs512 = "RS512"
        case ps256 = "PS256"
        case ps384 = "PS384"
        case ps512 = "PS512"
        case es256 = "ES256"
        case es384 = "ES384"
        case es512 = "ES512"
        case hs256 = "HS256"
        case hs384 = "HS384"
        case hs512 = "HS512"
    }

    /// How tokens are signed.
    public let method: Method
    /// The file of the public key, or of a certificate that has it.
    public let publicKeyFile: String?
    /// The file of the private key; for the HS methods, of the shared secret.
    public let privateKeyFile: String?
    /// How long a token lives: 1 s to 366 days.
    public let timeToLive: Duration

    private static let known = ["sign-method", "pub-key", "priv-key", "ttl"]

    init(_ parameters: [String: String]) throws(TokenOptionError) {
        if let unknown = parameters.keys.sorted().first(where: { !Self.known.contains($0) }) {
            throw TokenOptionError(
                "\(unknown) is no parameter of 'jwt'; expected \(Self.known.joined(separator: ", "))")
        }
        let methods = Method.allCases.map(\.rawValue).joined(separator: ", ")
        guard let name = parameters["sign-method"] else {
            throw TokenOptionError("sign-method is missing; expected one of \(methods)")
        }
        guard let method = Method(rawValue: name) else {
            throw TokenOptionError("sign-method '\(name)' is not known; expected one of \(methods)")
        }
        self.method = method
        publicKeyFile = parameters["pub-key"].flatMap { $0.isEmpty ? nil : $0 }
        privateKeyFile = parameters["priv-key"].flatMap { $0.isEmpty ? nil : $0 }
        let text = parameters["ttl"].flatMap { $0.isEmpty ? nil : $0 } ?? "5m"
        guard let timeToLive = GoDuration.parse(text), .seconds(1)...(.seconds(366 * 86_400)) ~= timeToLive else {
            throw TokenOptionError("ttl '\(text)' is no time of 1s to 8784h; expected one like 5m or 1h30m")
        }
        self.timeToLive = timeToLive
    }
}

/// An option about tokens that cannot be used: which, why, and what would do.
public struct TokenOptionError: Error, Hashable, CustomStringConvertible, Sendable {
    /// One line for a person.
    public let description: String

    init(_ what: String) { description = "--auth-token: \(what)" }
}

/// Times as Go's programs write them: numbers, each with its unit, one after the other.
enum GoDuration {
    private static let units: [(String, Double)] = [
        ("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("h", 3_600), ("m", 60), ("s", 1),
    ]

    static func parse(_ text: String) -> Duration? {
        var rest = text[...]
        var seconds = 0.0
        guard !rest.isEmpty else { return nil }
        while !rest.isEmpty {
            let digits = rest.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
            guard let number = Double(digits) else { return nil }
            rest = rest[digits.endIndex...]
            guard let (unit, factor) = units.first(where: { rest.hasPrefix($0.0) }) else { return nil }
            rest = rest.dropFirst(unit.count)
            seconds += number * factor
        }
        guard seconds.isFinite, seconds < 1e12 else { return nil }
        return .seconds(seconds)
    }
}
