import SwiftASN1

/// The certificates that an authority took back: a CRL (RFC 5280, 5).
///
/// As etcd does, it goes by serial numbers alone, and trusts the file as it is: its signature and its issuer are not
/// looked at.
package struct RevocationList: Sendable {
    /// Big endian, without leading zeros.
    private let serialNumbers: Set<[UInt8]>

    /// Reads one list in DER, or one or more in PEM.
    ///
    /// - Throws: what is wrong with the bytes.
    package init(_ bytes: [UInt8]) throws {
        var serialNumbers: Set<[UInt8]> = []
        for list in try Self.lists(bytes) { try Self.read(list, into: &serialNumbers) }
        self.serialNumbers = serialNumbers
    }

    /// Revoked certificates it names.
    package var count: Int { serialNumbers.count }

    /// Whether a certificate with this serial number, big endian, was revoked.
    package func contains(_ serialNumber: [UInt8]) -> Bool { serialNumbers.contains(Self.trimmed(serialNumber[...])) }

    private static func lists(_ bytes: [UInt8]) throws -> [[UInt8]] {
        let text = String(decoding: bytes, as: UTF8.self)
        guard text.contains("-----BEGIN ") else { return [bytes] }
        let lists = try PEMDocument.parseMultiple(pemString: text).filter { $0.discriminator == "X509 CRL" }
        guard !lists.isEmpty else { throw NoList() }
        return lists.map(\.derBytes)
    }

    private struct NoList: Error, CustomStringConvertible {
        var description: String { "no X509 CRL block" }
    }

    /// CertificateList ::= { tbsCertList, algorithm, signature }, and in the first
    /// { version?, algorithm, issuer, thisUpdate, nextUpdate?, revoked?, extensions? }.
    private static func read(_ bytes: [UInt8], into serialNumbers: inout Set<[UInt8]>) throws {
        try DER.sequence(try DER.parse(bytes), identifier: .sequence) { parts in
            guard let list = parts.next() else { throw ASN1Error.invalidASN1Object(reason: "an empty list") }
            while parts.next() != nil {}
            try DER.sequence(list, identifier: .sequence) { fields in
                var sequences = 0
                while let field = fields.next() {
                    guard field.identifier == .sequence else { continue }
                    sequences += 1
                    // Before it stand the algorithm and the issuer.
                    if sequences == 3 { try readEntries(field, into: &serialNumbers) }
                }
                guard sequences >= 2 else { throw ASN1Error.invalidASN1Object(reason: "no issuer") }
            }
        }
    }

    private static func readEntries(_ entries: ASN1Node, into serialNumbers: inout Set<[UInt8]>) throws {
        try DER.sequence(entries, identifier: .sequence) { nodes in
            while let entry = nodes.next() {
                let number = try DER.sequence(entry, identifier: .sequence) { parts in
                    let number = try ArraySlice<UInt8>(derEncoded: &parts)
                    while parts.next() != nil {}
                    return number
                }
                serialNumbers.insert(trimmed(number))
            }
        }
    }

    private static func trimmed(_ number: ArraySlice<UInt8>) -> [UInt8] { Array(number.drop { $0 == 0 }) }
}
