import EtcdAPI
import ProtobufWire
package import Store
package import Vocabulary

/// A place as it is stored in table `places` under its token, and shown: a `berth.v1.Place` without what follows from
/// the line, and one field more.
package struct PlaceRecord {
    package var key: [UInt8] = []
    package var token = Revision.zero
    package var lease = LeaseID.none
    package var terms = PlaceTerms()
    package var acquiredAt: Int64 = 0
    package var claim: Int64 = 0

    private static let ownsLeaseField = 100
    private static let claimField = 101

    package init() {}

    init(_ place: LockPlace) {
        key = place.key
        token = place.token
        lease = place.lease
        terms = place.terms
        acquiredAt = place.acquiredAt
        claim = place.claim
    }

    package func encoded() -> [UInt8] {
        var writer = WireWriter(capacity: 64 + key.count)
        writer.bytesField(1, key)
        writer.int64Field(2, token.value)
        writer.int64Field(3, lease.value)
        writer.bytesField(4, terms.owner)
        for entry in terms.attributes { writer.messageField(5, entry) }
        writer.int64Field(6, terms.mode.rawValue)
        writer.int64Field(7, terms.permits)
        for range in terms.guards {
            writer.message(8) { (body) throws(Never) in
                body.bytesField(1, range.key)
                body.bytesField(2, range.end)
            }
        }
        writer.int64Field(11, terms.queuedAt)
        writer.int64Field(12, acquiredAt)
        writer.boolField(15, terms.isProtected)
        writer.boolField(Self.ownsLeaseField, terms.ownsLease)
        writer.int64Field(Self.claimField, claim)
        return writer.bytes
    }

    package init(_ bytes: [UInt8]) throws(StoreError) {
        do throws(WireError) {
            try bytes.withRawBytes { (buffer) throws(WireError) in try read(buffer) }
        } catch {
            throw .corrupt(place: "places", detail: "a record is no message: \(error)")
        }
    }

    private mutating func read(_ buffer: UnsafeRawBufferPointer) throws(WireError) {
        var reader = WireReader(buffer)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: key = Array(try reader.bytes(of: field))
            case 2: token = Revision(try reader.int64(of: field))
            case 3: lease = LeaseID(try reader.int64(of: field))
            case 4: terms.owner = Array(try reader.bytes(of: field))
            case 5: terms.attributes.append(Array(try reader.bytes(of: field)))
            case 6: terms.mode = LockMode(rawValue: try reader.int64(of: field)) ?? .exclusive
            case 7: terms.permits = try reader.int64(of: field)
            case 8: terms.guards.append(try Self.range(try reader.bytes(of: field)))
            case 11: terms.queuedAt = try reader.int64(of: field)
            case 12: acquiredAt = try reader.int64(of: field)
            case 15: terms.isProtected = try reader.bool(of: field)
            case Self.claimField: claim = try reader.int64(of: field)
            case Self.ownsLeaseField: terms.ownsLease = try reader.bool(of: field)
            default: try reader.skip(field)
            }
        }
    }

    private static func range(_ message: UnsafeRawBufferPointer) throws(WireError) -> KeyRange {
        var key: [UInt8] = []
        var end: [UInt8] = []
        var reader = WireReader(message)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: key = Array(try reader.bytes(of: field))
            case 2: end = Array(try reader.bytes(of: field))
            default: try reader.skip(field)
            }
        }
        return KeyRange(key: key, end: end)
    }
}
