public import ProtobufWire
public import Vocabulary

// Writers append a message's fields in ascending order, defaults left out, so that the bytes equal the generated
// encoder's. They append to a writer, because inside a transaction's answer the message is a field of another.

/// Writes `etcdserverpb.PutResponse`.
public enum PutResponse {
    /// Appends the message; `previous` is an encoded key-value.
    public static func append(
        header: ResponseHeader, previous: UnsafeRawBufferPointer?, to writer: inout WireWriter
    ) {
        header.append(to: &writer)
        if let previous { writer.messageField(2, previous) }
    }

    /// The message alone.
    public static func encoded(header: ResponseHeader, previous: UnsafeRawBufferPointer? = nil) -> [UInt8] {
        var writer = WireWriter(capacity: ResponseHeader.maximumSize + (previous.map { $0.count + 6 } ?? 0))
        append(header: header, previous: previous, to: &writer)
        return writer.bytes
    }
}

/// Writes `etcdserverpb.RangeResponse`: `begin`, any number of `appendKeyValue`, `end`.
public enum RangeResponse {
    /// The field of the results, for `KeyValueView.appendWithoutValue`.
    public static let keyValuesField = 2

    /// Starts the message.
    public static func begin(header: ResponseHeader, to writer: inout WireWriter) {
        header.append(to: &writer)
    }

    /// Adds a result as it is stored.
    @inlinable
    public static func appendKeyValue(_ encoded: UnsafeRawBufferPointer, to writer: inout WireWriter) {
        writer.messageField(keyValuesField, encoded)
    }

    /// Ends the message.
    public static func end(more: Bool, count: Int, to writer: inout WireWriter) {
        writer.boolField(3, more)
        writer.int64Field(4, Int64(count))
    }
}

/// Writes `etcdserverpb.DeleteRangeResponse`: `begin`, then one `appendPrevious` for each key if they were asked for.
public enum DeleteRangeResponse {
    /// Starts the message.
    public static func begin(header: ResponseHeader, deleted: Int, to writer: inout WireWriter) {
        header.append(to: &writer)
        writer.int64Field(2, Int64(deleted))
    }

    /// Adds a key-value that was deleted.
    public static func appendPrevious(_ encoded: UnsafeRawBufferPointer, to writer: inout WireWriter) {
        writer.messageField(3, encoded)
    }
}

/// Writes `etcdserverpb.TxnResponse`: `begin`, then one `appendOperation` for each of the branch that ran.
public enum TxnResponse {
    /// The arms of `etcdserverpb.ResponseOp`.
    public enum Arm: Int, Sendable {
        case range = 1
        case put = 2
        case deleteRange = 3
        case txn = 4
    }

    /// Starts the message.
    public static func begin(header: ResponseHeader, succeeded: Bool, to writer: inout WireWriter) {
        header.append(to: &writer)
        writer.boolField(2, succeeded)
    }

    /// Adds an operation's answer, whose message `body` appends.
    public static func appendOperation<Failure: Error>(
        _ arm: Arm, to writer: inout WireWriter, _ body: (inout WireWriter) throws(Failure) -> Void
    ) throws(Failure) {
        try writer.message(3) { (operation) throws(Failure) in
            try operation.message(arm.rawValue, body)
        }
    }
}

/// Writes the answers that consist of a header: compaction, lease revoke, unlock, proclaim, resign.
public enum HeaderOnlyResponse {
    /// The message.
    public static func encoded(header: ResponseHeader) -> [UInt8] {
        var writer = WireWriter(capacity: ResponseHeader.maximumSize)
        header.append(to: &writer)
        return writer.bytes
    }
}

/// Writes `etcdserverpb.AuthenticateResponse`.
public enum AuthenticateResponse {
    /// The message.
    public static func encoded(header: ResponseHeader, token: [UInt8]) -> [UInt8] {
        var writer = WireWriter(capacity: ResponseHeader.maximumSize + token.count + 3)
        header.append(to: &writer)
        writer.bytesField(2, token)
        return writer.bytes
    }
}

/// Writes `etcdserverpb.LeaseGrantResponse` and `LeaseKeepAliveResponse`, which have the same first three fields.
public enum LeaseResponse {
    /// The message; times to live are seconds, zero for a renewal of a lease that is gone.
    public static func encoded(header: ResponseHeader, id: LeaseID, timeToLive: Int64) -> [UInt8] {
        var writer = WireWriter(capacity: ResponseHeader.maximumSize + 22)
        header.append(to: &writer)
        writer.int64Field(2, id.value)
        writer.int64Field(3, timeToLive)
        return writer.bytes
    }
}

/// Writes `etcdserverpb.AlarmResponse`.
public enum AlarmResponse {
    /// The message.
    public static func encoded(header: ResponseHeader, alarms: [(memberID: UInt64, alarm: Int64)]) -> [UInt8] {
        var writer = WireWriter(capacity: ResponseHeader.maximumSize + 16 * alarms.count)
        header.append(to: &writer)
        for alarm in alarms {
            writer.message(2) { member in
                member.uint64Field(1, alarm.memberID)
                member.int64Field(2, alarm.alarm)
            }
        }
        return writer.bytes
    }
}

/// Writes answers of `berth.v1` that an entry gives.
public enum BerthResponse {
    /// A `berth.v1.ReleaseResponse`.
    public static func released(header: ResponseHeader, _ isReleased: Bool) -> [UInt8] {
        var writer = WireWriter(capacity: ResponseHeader.maximumSize + 2)
        header.append(to: &writer)
        writer.boolField(2, isReleased)
        return writer.bytes
    }

    /// Whether an encoded `berth.v1.ReleaseResponse` says that the place was ended: its last field is that.
    public static func saysReleased(_ response: [UInt8]) -> Bool { response.suffix(2) == [2 << 3, 1] }

    /// A `berth.v1.AcquireResponse` for a place that holds.
    public static func acquired(
        header: ResponseHeader, name: [UInt8], key: [UInt8], token: Revision, lease: LeaseID, timeToLive: Int64,
        waitedMilliseconds: Int64, ahead: Int
    ) -> [UInt8] {
        var writer = WireWriter(capacity: ResponseHeader.maximumSize + 48 + name.count + key.count)
        header.append(to: &writer)
        writer.boolField(2, true)
        writer.message(3) { (handle) throws(Never) in
            handle.bytesField(1, name)
            handle.bytesField(2, key)
            handle.int64Field(3, token.value)
            handle.int64Field(4, lease.value)
            handle.int64Field(5, timeToLive)
        }
        writer.int64Field(4, waitedMilliseconds)
        writer.int64Field(5, Int64(ahead))
        return writer.bytes
    }

    /// A `berth.v1.BreakResponse`; `place` is an encoded `berth.v1.Place`.
    public static func broken(header: ResponseHeader, place: [UInt8]) -> [UInt8] {
        var writer = WireWriter(capacity: ResponseHeader.maximumSize + place.count + 4)
        header.append(to: &writer)
        writer.messageField(2, place)
        return writer.bytes
    }
}
