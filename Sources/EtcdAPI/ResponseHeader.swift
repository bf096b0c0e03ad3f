internal import ProtobufWire
public import Vocabulary

/// What never changes of a member's response headers, encoded once.
public struct ResponseHeaderTemplate: Sendable {
    /// The fields `cluster_id` and `member_id`.
    let ids: [UInt8]

    /// Prepares headers that name this member.
    public init(_ identity: MemberIdentity) {
        var writer = WireWriter(capacity: 24)
        writer.uint64Field(1, identity.clusterID)
        writer.uint64Field(2, identity.memberID)
        ids = writer.bytes
    }

    /// The header of an answer given at `revision` in `term`.
    @inlinable
    public func header(revision: Revision, term: RaftTerm) -> ResponseHeader {
        .full(self, revision: revision, term: term)
    }
}

/// The header field (number 1) of a response.
public enum ResponseHeader: Sendable {
    /// Of an answer to a client.
    case full(ResponseHeaderTemplate, revision: Revision, term: RaftTerm)
    /// Of an operation's answer inside a transaction's.
    case revisionOnly(Revision)
    /// Of a nested transaction's answer: there, and empty.
    case empty

    /// Ids take at most 11 bytes each, as do revision and term, and tag and length one each.
    static let maximumSize = 46

    /// The field alone, for responses that share it.
    public var encoded: [UInt8] {
        var writer = WireWriter(capacity: Self.maximumSize)
        append(to: &writer)
        return writer.bytes
    }

    /// Writes the field. A header is always shorter than 128 bytes, so its length is one byte.
    func append(to writer: inout WireWriter) {
        writer.bytes.append(1 << 3 | WireType.lengthDelimited.rawValue)
        let lengthPosition = writer.bytes.count
        writer.bytes.append(0)
        switch self {
        case .full(let template, let revision, let term):
            writer.bytes.append(contentsOf: template.ids)
            writer.int64Field(3, revision.value)
            writer.uint64Field(4, term.value)
        case .revisionOnly(let revision):
            writer.int64Field(3, revision.value)
        case .empty:
            break
        }
        writer.bytes[lengthPosition] = UInt8(writer.bytes.count - lengthPosition - 1)
    }
}
