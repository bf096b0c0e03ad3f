import BoltFile
import EtcdAPI
import GRPCTransport
import Server
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// Files of etcd's whose pages are right and whose contents are not, and files with changed bytes: refused with one line,
/// or restored, and never a crash.
@Suite(.timeLimit(.minutes(5))) struct EtcdFileTests {
    private typealias Entry = (key: [UInt8], value: [UInt8])

    private static func number(_ number: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: number.bigEndian) { Array($0) }
    }

    private static func revision(_ main: Int64, _ sub: Int64 = 0, _ mark: String = "") -> [UInt8] {
        number(main) + Array("_".utf8) + number(sub) + Array(mark.utf8)
    }

    private static func put(
        _ main: Int64, _ sub: Int64 = 0, key: String = "k", create: Int64? = nil, mod: Int64? = nil, version: Int64 = 1,
        lease: Int64 = 0
    ) throws -> Entry {
        let keyValue = Mvccpb_KeyValue.with {
            $0.key = .init(key.utf8)
            $0.createRevision = create ?? main
            $0.modRevision = mod ?? main
            $0.version = version
            $0.value = .init("v".utf8)
            $0.lease = lease
        }
        return (revision(main, sub), try keyValue.serializedBytes())
    }

    private static func lease(_ id: Int64, key: Int64? = nil, seconds: UInt64) -> Entry {
        var message: [UInt8] = [8] + varint(UInt64(bitPattern: id)) + [16]
        message += varint(seconds)
        return (number(key ?? id), message)
    }

    private static func varint(_ number: UInt64) -> [UInt8] {
        var rest = number
        var bytes: [UInt8] = []
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        return bytes + [UInt8(rest)]
    }

    /// A database of these buckets, which come in the order of their names.
    private static func file(_ buckets: [(String, [Entry])]) throws -> [UInt8] {
        func fill(_ writer: inout BoltWriter) throws {
            for (name, entries) in buckets {
                try writer.beginBucket(name)
                for (key, value) in entries {
                    try key.withUnsafeBytes { key in try value.withUnsafeBytes { try writer.add(key: key, value: $0) } }
                }
                writer.endBucket()
            }
        }
        var plan = BoltWriter()
        try fill(&plan)
        var writer = BoltWriter(try plan.finish())
        try fill(&writer)
        _ = try writer.finish()
        return writer.take()
    }

    /// What a restore of the bytes says: nil when it succeeds. What it makes is taken away.
    private func refusal(_ bytes: [UInt8]) throws -> String? {
        var template = Array("/tmp/berth-etcd-file-XXXXXX".utf8CString)
        let made = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress) != nil }
        try #require(made)
        let folder = template.withUnsafeBufferPointer { String(cString: $0.baseAddress ?? UnsafePointer([0])) }
        let (path, target) = (folder + "/file.db", folder + "/data")
        defer {
            for name in ["base/data.mdb", "lock"] { unlink(target + "/" + name) }
            rmdir(target + "/base")
            #expect(rmdir(target) == 0 || errno == ENOENT)
            unlink(path)
            rmdir(folder)
        }
        let file = try #require(fopen(path, "w"))
        #expect(fwrite(bytes, 1, bytes.count, file) == bytes.count)
        fclose(file)
        do throws(SnapshotFile.Failure) {
            _ = try SnapshotFile.inspect(path, skipHashCheck: true)
        } catch {
            #expect(throws: SnapshotFile.Failure.self) {
                try SnapshotFile.restore(path, into: target, skipHashCheck: true)
            }
            #expect(access(target, F_OK) != 0, "nothing is left")
            return error.description
        }
        do throws(SnapshotFile.Failure) {
            _ = try SnapshotFile.restore(path, into: target, skipHashCheck: true)
            return nil
        } catch {
            #expect(access(target, F_OK) != 0, "nothing is left")
            #expect(error.description.hasPrefix(path) && !error.description.contains("\n"))
            return error.description
        }
    }

    @Test func `entries that cannot be are refused by name`() throws {
        func key(_ entries: Entry...) throws -> String? { try refusal(try Self.file([("key", entries)])) }
        #expect(try key(Self.put(2), Self.put(3, create: 2, version: 2)) == nil)
        let contains = { (text: String?, part: String) in
            #expect(text?.contains(part) == true, "\(text ?? "restored") should tell: \(part)")
        }
        contains(try key((Array("short".utf8), [])), "an entry of 5 bytes that is no revision")
        contains(try key((Self.revision(2, 0, "x"), [])), "an entry of 18 bytes that is no revision")
        contains(try key((Self.revision(2, 1 << 40), [])), "an entry of 17 bytes that is no revision")
        contains(try key((Self.revision(2), [0xff])), "revision 2.0 is no key-value")
        contains(try key((Self.revision(2), [])), "revision 2.0 has no key")
        contains(try key(Self.put(2, key: "")), "revision 2.0 has no key")
        contains(try key(Self.put(5, mod: 4)), "revision 5.0 is no change of a key")
        contains(try key(Self.put(5, create: 6)), "revision 5.0 is no change of a key")
        contains(try key(Self.put(5, version: 0)), "revision 5.0 is no change of a key")
        contains(try key(Self.put(5, version: .max)), "revision 5.0 is version 9223372036854775807")
        contains(try key(Self.put(.max)), "its newest revision is 9223372036854775807")
        contains(try refusal(try Self.file([("other", [])])), "no bucket \"key\"")
    }

    @Test func `leases, alarms, users and settings that cannot be are refused`() throws {
        func other(_ buckets: (String, [Entry])...) throws -> String? {
            try refusal(try Self.file((buckets + [("key", [])]).sorted { $0.0 < $1.0 }))
        }
        let contains = { (text: String?, part: String) in
            #expect(text?.contains(part) == true, "\(text ?? "restored") should tell: \(part)")
        }
        #expect(try other(("lease", [Self.lease(7, seconds: 9_000_000_000)])) == nil)
        contains(
            try other(("lease", [Self.lease(7, seconds: 9_000_000_001)])), "lease 7 of 9000000001 seconds cannot be")
        contains(try other(("lease", [Self.lease(7, seconds: 0)])), "lease 7 of 0 seconds cannot be")
        contains(try other(("lease", [Self.lease(7, key: 8, seconds: 9)])), "lease 7 of 9 seconds cannot be")
        contains(try other(("lease", [(Self.number(Int64(7)), [0xff])])), "a lease is no message")
        contains(try other(("alarm", [([8, 1, 16, 9], [])])), "an alarm of kind 9")
        contains(try other(("alarm", [([0xff], [])])), "an alarm is no message")
        contains(try other(("auth", [(Array("authEnabled".utf8), [7])])), "authEnabled in bucket auth")
        contains(try other(("auth", [(Array("authRevision".utf8), [7])])), "authRevision in bucket auth")
        let user = try Authpb_User.with { $0.name = .init("eve".utf8) }.serializedBytes() as [UInt8]
        contains(try other(("authUsers", [(Array("root".utf8), user)])), "user root is stored under another name")
        contains(try other(("authUsers", [(Array("root".utf8), [0xff])])), "a user is no message")
        #expect(try other(("authUsers", [(Array("eve".utf8), user)])) == nil)
        #expect(try other(("unknown", [([1], [1])])) == nil)
    }

    @Test(arguments: Seeds.all)
    func `files with changed bytes are refused or restored`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var entries: [Entry] = []
        for main: Int64 in 2...120 {
            entries.append(try Self.put(main, key: "key\(main)", lease: main % 7 == 0 ? 5 : 0))
        }
        let compaction = [(Array("scheduledCompactRev".utf8), Self.revision(10))]
        let whole = try Self.file([
            ("key", entries), ("lease", [Self.lease(5, seconds: 60)]), ("meta", compaction),
        ])
        #expect(try refusal(whole) == nil)
        for _ in 0..<60 {
            var bytes = whole
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let place = Int.random(in: 3 * 4096..<bytes.count, using: &random)
                bytes[place] = .random(in: 0...255, using: &random)
                // Where entries are.
                let low = 3 * 4096 + 16 + Int.random(in: 0..<400, using: &random)
                bytes[low] ^= 1 << .random(in: 0..<8, using: &random)
            }
            _ = try refusal(bytes)
        }
    }
}
