import EtcdAPI
import Store
import Vocabulary

/// A line of lease-owned keys, `NAME/<lease id in hex>`, ordered by create revision: exactly what etcd's own clients
/// lay out, so that all of them stand in one line. The smallest create revision holds.
struct LeaseQueue {
    /// `NAME/`
    let prefix: [UInt8]
    /// All keys of the line.
    let range: KeyRange

    init(name: [UInt8]) {
        prefix = name + [UInt8(ascii: "/")]
        // '/' is not 0xff, so raising it by one ends the prefix.
        range = KeyRange(key: prefix, end: name + [UInt8(ascii: "/") + 1])
    }

    /// A place in line as the store has it.
    struct Place {
        let key: [UInt8]
        let createRevision: Revision
    }

    /// The head of the line with its encoded `mvccpb.KeyValue`; nil when nobody stands in it.
    func head(in snapshot: Snapshot) throws -> (place: Place, keyValue: [UInt8])? {
        var found: (record: KeyRecord, key: [UInt8])?
        try snapshot.forEachKey(in: range, at: snapshot.revision) { key, record in
            if let best = found, best.record.createRevision <= record.createRevision { return .next }
            found = (record, [UInt8](key))
            return .next
        }
        guard let found else { return nil }
        let keyValue = [UInt8](try snapshot.keyValue(of: found.record))
        return (Place(key: found.key, createRevision: found.record.createRevision), keyValue)
    }
}
