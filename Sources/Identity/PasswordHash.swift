import CCrypt

#if canImport(Glibc)
    import Glibc
#endif

/// Passwords as bcrypt hashes, made and compared by libxcrypt, in the form that Go's library writes and etcd stores: so users
/// keep their passwords when they move between etcd and Berth.
///
/// This module knows who somebody is: passwords, tokens, signatures, and how often one may try. It must never know a
/// request, a permission or a clock beyond the instants it is handed, and never put a password, a hash or a token into a
/// log or an error's text.
///
/// Hashing is slow on purpose (some 60 ms at cost 10): never call this on an event loop or the log thread.
public enum PasswordHash {
    /// The work factors bcrypt knows; one more is twice the work.
    public static let costs = 4...31
    /// Bytes of a password that count for bcrypt.
    public static let maximumPasswordBytes = 72

    // A plain `$2a$` makes libxcrypt treat a few passwords with 8-bit characters in a way of its own. Go's `$2a$` is what
    // libxcrypt calls `$2b$`, so that is what is asked for, whatever the stored prefix says.
    private static let computedPrefix = Array("$2b$".utf8)
    private static let storedPrefix = Array("$2a$".utf8)
    private static let knownPrefixes = ["$2a$", "$2b$", "$2y$"].map { Array($0.utf8) }

    /// Why a password cannot be taken, or nil. Bcrypt would cut it silently: another one would then be right too.
    public static func problem(with password: [UInt8]) -> String? {
        if password.contains(0) { return "the password has a zero byte; choose one without" }
        if password.count > maximumPasswordBytes {
            return "the password has \(password.count) bytes; choose one of at most \(maximumPasswordBytes)"
        }
        return nil
    }

    /// The hash of a password for which there is no problem, with fresh salt; nil when the C library fails.
    ///
    /// - Parameter cost: within `costs`.
    public static func make(_ password: [UInt8], cost: Int) -> [UInt8]? {
        precondition(costs.contains(cost), "a cost that bcrypt knows")
        guard problem(with: password) == nil else { return nil }
        var generator = SystemRandomNumberGenerator()
        let salt = (0..<16).map { _ in CChar(bitPattern: UInt8.random(in: .min ... .max, using: &generator)) }
        var setting = [CChar](repeating: 0, count: Int(CRYPT_GENSALT_OUTPUT_SIZE))
        let made = "$2b$".withCString { prefix in
            crypt_gensalt_rn(prefix, UInt(cost), salt, Int32(salt.count), &setting, Int32(setting.count))
        }
        guard made != nil else { return nil }
        guard let computed = crypt(password, setting: setting) else { return nil }
        return storedPrefix + computed.dropFirst(computedPrefix.count)
    }

    /// What a password is compared with when there is none: no password matches it, after the work of the cost.
    ///
    /// - Parameter cost: within `costs`.
    public static func ofNobody(cost: Int) -> [UInt8] {
        precondition(costs.contains(cost), "a cost that bcrypt knows")
        let digits = cost < 10 ? "0\(cost)$" : "\(cost)$"
        return storedPrefix + Array(digits.utf8) + [UInt8](repeating: UInt8(ascii: "."), count: 53)
    }

    /// Whether a password is the one that was hashed. Takes as long whichever byte differs, and as long as the hash's own
    /// cost says; at once only for a hash that is none, which no password matches.
    public static func matches(_ password: [UInt8], _ hash: [UInt8]) -> Bool {
        guard hash.count == 60, knownPrefixes.contains(where: { hash.starts(with: $0) }), !hash.contains(0) else {
            return false
        }
        let setting = (computedPrefix + hash.dropFirst(computedPrefix.count)).map { CChar(bitPattern: $0) } + [0]
        // What could never have been hashed is refused, after the same work.
        let isPossible = problem(with: password) == nil
        guard let computed = crypt(isPossible ? password : [], setting: setting), computed.count == hash.count else {
            return false
        }
        var difference: UInt8 = 0
        for (a, b) in zip(computed.dropFirst(computedPrefix.count), hash.dropFirst(computedPrefix.count)) {
            difference |= a ^ b
        }
        return difference == 0 && isPossible
    }

    /// The state is on the heap, 32 KiB, cleared before it is freed; the C library keeps nothing.
    private static func crypt(_ password: [UInt8], setting: [CChar]) -> [UInt8]? {
        let size = MemoryLayout<crypt_data>.size
        let state = UnsafeMutableRawPointer.allocate(
            byteCount: size, alignment: MemoryLayout<crypt_data>.alignment)
        memset(state, 0, size)
        defer {
            explicit_bzero(state, size)
            state.deallocate()
        }
        // One buffer, cleared too: an array would be freed with the password in it.
        let phrase = UnsafeMutablePointer<CChar>.allocate(capacity: password.count + 1)
        for (position, byte) in password.enumerated() { phrase[position] = CChar(bitPattern: byte) }
        phrase[password.count] = 0
        defer {
            explicit_bzero(phrase, password.count + 1)
            phrase.deallocate()
        }
        guard let result = crypt_rn(phrase, setting, state, Int32(size)) else { return nil }
        return Array(UnsafeRawBufferPointer(start: result, count: strlen(result)))
    }
}
