import Glibc
import Store

/// A snapshot file taken apart and put together by what docs/snapshot-format.md says, and by none of the store's code.
struct SnapshotFileText {
    struct Block {
        var kind: UInt8
        var payload: [UInt8]
    }

    var magic = Array("berthsnp".utf8)
    var version: UInt32 = 1
    var blocks: [Block] = []

    /// Nil when the bytes are no such file.
    init?(_ bytes: [UInt8]) {
        guard bytes.count >= 12 else { return nil }
        magic = Array(bytes[..<8])
        version = Self.number(bytes[8..<12])
        var rest = bytes[12...]
        var covered = Array(bytes[..<12])
        while !rest.isEmpty {
            guard rest.count >= 9, let kind = rest.first else { return nil }
            let start = rest.startIndex
            let count = Int(Self.number(rest[(start + 1)..<(start + 5)]))
            guard rest.count >= 9 + count else { return nil }
            let payload = Array(rest[(start + 5)..<(start + 5 + count)])
            covered += rest[start..<(start + 5 + count)]
            guard Self.checksum(covered) == Self.number(rest[(start + 5 + count)..<(start + 9 + count)]) else {
                return nil
            }
            blocks.append(Block(kind: kind, payload: payload))
            rest = rest[(start + 9 + count)...]
        }
    }

    /// The file, with checksums that are right.
    var bytes: [UInt8] {
        var covered = magic + Self.bytes(version)
        var file = covered
        for block in blocks {
            let head = [block.kind] + Self.bytes(UInt32(block.payload.count))
            covered += head + block.payload
            file += head + block.payload + Self.bytes(Self.checksum(covered))
        }
        return file
    }

    static func number(_ bytes: some Sequence<UInt8>) -> UInt32 { bytes.reduce(0) { $0 << 8 | UInt32($1) } }

    static func bytes(_ number: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: number.bigEndian) { Array($0) }
    }

    /// CRC-32C, a bit at a time.
    static func checksum(_ bytes: [UInt8]) -> UInt32 {
        var state: UInt32 = .max
        for byte in bytes {
            state ^= UInt32(byte)
            for _ in 0..<8 { state = state & 1 == 1 ? state >> 1 ^ 0x82f6_3b78 : state >> 1 }
        }
        return ~state
    }
}

extension TestFolder {
    /// Writes a file and gives its path.
    @discardableResult
    func write(_ bytes: [UInt8], to name: String) throws -> String {
        let file = path + "/" + name
        let descriptor = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw StoreError.notWritable(path: file, errno: errno) }
        defer { close(descriptor) }
        var written = 0
        while written < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.write(descriptor, $0.baseAddress.map { $0 + written }, $0.count - written)
            }
            guard count > 0 else { throw StoreError.notWritable(path: file, errno: errno) }
            written += count
        }
        return file
    }

    /// A file's bytes; nil when it cannot be read.
    func read(_ name: String) -> [UInt8]? {
        let descriptor = open(path + "/" + name, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        return count >= 0 ? Array(bytes[..<count]) : nil
    }

    /// Names in the folder, or in one inside; nil when that does not exist.
    func entries(_ name: String = "") -> Set<String>? {
        guard let folder = opendir(path + "/" + name) else { return nil }
        defer { closedir(folder) }
        var names: Set<String> = []
        while let entry = readdir(folder) {
            names.insert(
                withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                })
        }
        return names.subtracting([".", ".."])
    }
}

extension Store {
    /// A snapshot file of everything applied.
    func snapshotFile() throws -> [UInt8] {
        try writer.sealAndFlush(self)
        let copy = try beginCopy(takenAtMilliseconds: 1_700_000_000_000)
        defer { copy.end() }
        return try copy.rest()
    }
}

extension SnapshotCopy {
    /// All pieces that are left.
    func rest() throws -> [UInt8] {
        var bytes: [UInt8] = []
        var last: UInt64 = 0
        while let piece = try next() {
            guard piece.done >= last, piece.done <= piece.total else { throw StoreError.inDoubt }
            last = piece.done
            bytes += piece.bytes
        }
        return bytes
    }
}
