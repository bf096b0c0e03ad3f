import Crypto

/// A token as etcd writes it: sixteen letters, a point, and the number of the log entry that made it.
///
/// The letters are the secret, 91 bits of it. What is kept, here and in the log, is what they hash to.
public struct SimpleToken: Sendable {
    /// The secret half.
    public let letters: [UInt8]

    private static let alphabet = Array("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".utf8)
    private static let letterCount = 16

    /// Fresh letters from the system's source of randomness.
    public init() {
        var generator = SystemRandomNumberGenerator()
        letters = (0..<Self.letterCount).map { _ in
            Self.alphabet[Int.random(in: 0..<Self.alphabet.count, using: &generator)]
        }
    }

    /// What the letters hash to.
    public var digest: [UInt8] { Self.digest(of: letters) }

    /// What any secret is remembered by.
    public static func digest(of secret: [UInt8]) -> [UInt8] { Array(SHA256.hash(data: secret)) }

    /// The token as its owner sends it.
    public func text(number: UInt64) -> String { "\(String(decoding: letters, as: UTF8.self)).\(number)" }

    /// Takes a token apart; nil when it is none.
    public static func read(_ text: String) -> (digest: [UInt8], number: UInt64)? {
        let bytes = Array(text.utf8)
        guard bytes.count > letterCount + 1, bytes.count <= letterCount + 21,
            bytes[letterCount] == UInt8(ascii: "."),
            bytes[..<letterCount].allSatisfy({ alphabet.contains($0) }),
            bytes[(letterCount + 1)...].allSatisfy({ UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }),
            let number = UInt64(String(decoding: bytes[(letterCount + 1)...], as: UTF8.self))
        else { return nil }
        return (Array(SHA256.hash(data: bytes[..<letterCount])), number)
    }
}
