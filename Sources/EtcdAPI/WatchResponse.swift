public import ProtobufWire
public import Vocabulary

/// Writes `etcdserverpb.WatchResponse`.
///
/// Events stand last in the message, so that their encoding is made once and shared by all watchers who get the same
/// ones: `appendEvent` builds the shared part, `encoded` puts a watcher's own fields before it.
public enum WatchResponse {
    /// Appends one event to the shared part. Key-values are encoded messages; `previous` is nil when not asked for or
    /// not there.
    public static func appendEvent(
        isDeletion: Bool, keyValue: UnsafeRawBufferPointer, previous: UnsafeRawBufferPointer?,
        to writer: inout WireWriter
    ) {
        let size =
            (isDeletion ? 2 : 0) + fieldSize(keyValue.count) + (previous.map { fieldSize($0.count) } ?? 0)
        writer.tag(11, .lengthDelimited)
        writer.varint(UInt64(size))
        if isDeletion {
            writer.tag(1, .varint)
            writer.bytes.append(1)
        }
        writer.messageField(2, keyValue)
        if let previous { writer.messageField(3, previous) }
    }

    /// Bytes `appendEvent` takes for an event, for splitting a response into fragments.
    public static func eventSize(isDeletion: Bool, keyValueBytes: Int, previousBytes: Int?) -> Int {
        fieldSize((isDeletion ? 2 : 0) + fieldSize(keyValueBytes) + (previousBytes.map(fieldSize) ?? 0))
    }

    /// A response with events made by `appendEvent`; with none it reports progress. `header` is the encoded field
    /// (`ResponseHeader.encoded`): thousands of watchers may get the same one.
    public static func encoded(
        header: [UInt8], watchID: Int64, isFragment: Bool = false, events: [UInt8] = []
    ) -> [UInt8] {
        var writer = WireWriter(capacity: header.count + 13 + events.count)
        writer.bytes.append(contentsOf: header)
        writer.int64Field(2, watchID)
        writer.boolField(7, isFragment)
        writer.bytes.append(contentsOf: events)
        return writer.bytes
    }

    /// The answer that creates a watch.
    public static func created(header: ResponseHeader, watchID: Int64) -> [UInt8] {
        control(header: header, watchID: watchID, created: true, canceled: false, compactRevision: .zero, reason: "")
    }

    /// The answer to a creation that is refused: created and cancelled at once, under id -1.
    public static func refused(header: ResponseHeader, reason: String) -> [UInt8] {
        control(header: header, watchID: -1, created: true, canceled: true, compactRevision: .zero, reason: reason)
    }

    /// The end of a watch. `compactRevision` is set when its history was compacted away; the header's revision is then
    /// zero.
    public static func canceled(
        header: ResponseHeader, watchID: Int64, compactRevision: Revision = .zero, reason: String = ""
    ) -> [UInt8] {
        control(
            header: header, watchID: watchID, created: false, canceled: true, compactRevision: compactRevision,
            reason: reason)
    }

    private static func control(
        header: ResponseHeader, watchID: Int64, created: Bool, canceled: Bool, compactRevision: Revision, reason: String
    ) -> [UInt8] {
        var writer = WireWriter(capacity: ResponseHeader.maximumSize + 32 + reason.utf8.count)
        header.append(to: &writer)
        writer.int64Field(2, watchID)
        writer.boolField(3, created)
        writer.boolField(4, canceled)
        writer.int64Field(5, compactRevision.value)
        writer.bytesField(6, Array(reason.utf8))
        return writer.bytes
    }

    /// A length-delimited field's bytes with a one-byte tag.
    private static func fieldSize(_ count: Int) -> Int { 1 + WireWriter.varintSize(UInt64(count)) + count }
}
