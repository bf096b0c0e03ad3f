import Crypto
import FoundationEssentials
import JWTKit

/// Reads the keys for signed tokens from their files.
struct JWTKeyFiles {
    private let options: JWTOptions

    init(_ options: JWTOptions) { self.options = options }

    /// Gives the keys to a collection; tells whether it can sign.
    func add(to keys: JWTKeyCollection) async throws -> Bool {
        switch options.method {
        case .rs256, .rs384, .rs512: return try await addRSA(to: keys, isPSS: false)
        case .ps256, .ps384, .ps512: return try await addRSA(to: keys, isPSS: true)
        case .es256: return try await addECDSA(to: keys, ES256PrivateKey.self, ES256PublicKey.self)
        case .es384: return try await addECDSA(to: keys, ES384PrivateKey.self, ES384PublicKey.self)
        case .es512: return try await addECDSA(to: keys, ES512PrivateKey.self, ES512PublicKey.self)
        case .hs256, .hs384, .hs512: return try await addSecret(to: keys)
        }
    }

    private var digest: DigestAlgorithm {
        switch options.method {
        case .rs256, .ps256, .es256, .hs256: .sha256
        case .rs384, .ps384, .es384, .hs384: .sha384
        case .rs512, .ps512, .es512, .hs512: .sha512
        }
    }

    private var digestBytes: Int {
        switch options.method {
        case .rs256, .ps256, .es256, .hs256: 32
        case .rs384, .ps384, .es384, .hs384: 48
        case .rs512, .ps512, .es512, .hs512: 64
        }
    }

    // MARK: - RSA

    private func addRSA(to keys: JWTKeyCollection, isPSS: Bool) async throws -> Bool {
        let privateKey = try key("priv-key", options.privateKeyFile) { try Insecure.RSA.PrivateKey(pem: $0) }
        let publicKey = try key("pub-key", options.publicKeyFile) { pem in
            pem.contains("BEGIN CERTIFICATE")
                ? try Insecure.RSA.PublicKey(certificatePEM: pem) : try Insecure.RSA.PublicKey(pem: pem)
        }
        if let privateKey {
            if let publicKey, privateKey.publicKey != publicKey { throw mismatch }
            if isPSS {
                await keys.add(pss: privateKey, digestAlgorithm: digest)
            } else {
                await keys.add(rsa: privateKey, digestAlgorithm: digest)
            }
            return true
        }
        guard let publicKey else { throw missing }
        if isPSS {
            await keys.add(pss: publicKey, digestAlgorithm: digest)
        } else {
            await keys.add(rsa: publicKey, digestAlgorithm: digest)
        }
        return false
    }

    // MARK: - ECDSA

    private func addECDSA<Curve>(
        to keys: JWTKeyCollection, _: ECDSA.PrivateKey<Curve>.Type, _: ECDSA.PublicKey<Curve>.Type
    ) async throws -> Bool {
        let privateKey = try key("priv-key", options.privateKeyFile) { try ECDSA.PrivateKey<Curve>(pem: $0) }
        let publicKey = try key("pub-key", options.publicKeyFile) { pem in
            pem.contains("BEGIN CERTIFICATE")
                ? try ECDSA.PublicKey<Curve>(certificate: pem) : try ECDSA.PublicKey<Curve>(pem: pem)
        }
        if let privateKey {
            if let publicKey, privateKey.publicKey != publicKey { throw mismatch }
            await keys.add(ecdsa: privateKey)
            return true
        }
        guard let publicKey else { throw missing }
        await keys.add(ecdsa: publicKey)
        return false
    }

    // MARK: - A shared secret

    private func addSecret(to keys: JWTKeyCollection) async throws -> Bool {
        guard let file = options.privateKeyFile else {
            throw TokenOptionError(
                "sign-method \(options.method.rawValue) needs priv-key, the file of the shared secret")
        }
        let secret = try read("priv-key", file)
        // RFC 7518, section 3.2: no shorter than what the hash gives.
        guard secret.count >= digestBytes else {
            throw TokenOptionError(
                "priv-key: \(file) has \(secret.count) bytes; \(options.method.rawValue) takes \(digestBytes) at least")
        }
        await keys.add(hmac: HMACKey(from: secret), digestAlgorithm: digest)
        return true
    }

    // MARK: - Files

    /// A key whose file was named.
    private func key<Key>(_ parameter: String, _ file: String?, _ make: (String) throws -> Key) throws -> Key? {
        guard let file else { return nil }
        let contents = try read(parameter, file)
        guard let pem = String(data: contents, encoding: .utf8) else {
            throw TokenOptionError("\(parameter): \(file) is no PEM file")
        }
        do {
            return try make(pem)
        } catch {
            // The library's text may quote the file.
            throw TokenOptionError(
                "\(parameter): \(file) has no key for \(options.method.rawValue); expected a PEM file with one, "
                    + "for RSA of 2048 bits at least")
        }
    }

    private func read(_ parameter: String, _ file: String) throws(TokenOptionError) -> Data {
        do {
            return try Data(contentsOf: URL(filePath: file))
        } catch {
            throw TokenOptionError("\(parameter): \(file) cannot be read; name a file that the server may read")
        }
    }

    private var missing: TokenOptionError {
        TokenOptionError(
            "sign-method \(options.method.rawValue) needs a key; give priv-key, or pub-key where tokens are verified only"
        )
    }

    private var mismatch: TokenOptionError {
        TokenOptionError("pub-key and priv-key do not belong together; leave pub-key out, it is in priv-key")
    }
}
