// The server's signed tokens bring Foundation into the build, and the compiler then takes the C library's `stat` for
// CoreFoundation's.
import CoreFoundation
import BoltFile
import Crypto
import Store

#if canImport(Glibc)
    import Glibc
#endif

/// etcd's store as a file: what `etcdctl snapshot save` made, with the SHA-256 of the database behind it, or a copy of
/// etcd's own `member/snap/db`, without one.
///
/// Used by one thread.
final class EtcdFile {
    private static let digestSize = 32
    /// Pages are a multiple of this, which is how etcd tells both kinds of file apart.
    private static let sector = 512
    private static let chunkBytes = 1 << 20

    let path: String
    /// Bytes of the file.
    let size: Int
    /// Whether the SHA-256 stands at its end.
    let hasDigest: Bool
    private let file: Int32
    private var dataBytes: Int { hasDigest ? size - Self.digestSize : size }

    /// Opens a file.
    init(_ path: String) throws(SnapshotError) {
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard file >= 0 else { throw .unreadable(path: path, errno: errno) }
        var status = stat()
        guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            close(file)
            throw .foreign(path: path)
        }
        self.path = path
        self.file = file
        size = Int(status.st_size)
        hasDigest = size % Self.sector == Self.digestSize
        guard hasDigest || size % Self.sector == 0 else {
            throw .refused(
                path: path,
                detail:
                    "it is etcd's, but has \(size) bytes: neither whole pages nor these with a SHA-256 behind them; "
                    + "it is cut off or damaged, use another copy of it")
        }
    }

    deinit { close(file) }

    /// Whether a file looks like etcd's and not like one of Berth's.
    static func isEtcd(_ path: String) -> Bool {
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard file >= 0 else { return false }
        defer { close(file) }
        var beginning = [UInt8](repeating: 0, count: 64)
        let count = beginning.withUnsafeMutableBytes { pread(file, $0.baseAddress, $0.count, 0) }
        return count == beginning.count && BoltReader.isBolt(beginning)
    }

    /// Compares the SHA-256 of the database with the one behind it.
    func checkDigest(_ progress: (_ read: Int, _ size: Int) -> Void) throws(SnapshotError) {
        guard hasDigest else {
            throw .refused(
                path: path,
                detail: "it is etcd's, but has no SHA-256 at its end, as a copy of etcd's own file has none; "
                    + "--skip-hash-check takes it as it is")
        }
        var hash = SHA256()
        var offset = 0
        while offset < dataBytes {
            let bytes = try read(min(Self.chunkBytes, dataBytes - offset), at: offset)
            hash.update(data: bytes)
            offset += bytes.count
            progress(offset, size)
        }
        let digest = Array(hash.finalize())
        guard try read(Self.digestSize, at: dataBytes) == digest else {
            throw .refused(
                path: path, detail: "the SHA-256 at its end is not that of its bytes: it is damaged; use another copy")
        }
    }

    /// The database in it.
    func database() throws(SnapshotError) -> BoltReader {
        do throws(BoltError) {
            return try BoltReader(BoltDescriptor(file, count: dataBytes))
        } catch {
            throw damaged(error)
        }
    }

    func damaged(_ error: BoltError) -> SnapshotError {
        .refused(path: path, detail: "it is no whole database of etcd: \(error); use another copy of it")
    }

    private func read(_ count: Int, at offset: Int) throws(SnapshotError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var failure: BoltError?
        bytes.withUnsafeMutableBytes { buffer in
            do throws(BoltError) {
                try BoltDescriptor(file, count: size).read(at: offset, into: buffer)
            } catch {
                failure = error
            }
        }
        switch failure {
        case nil: return bytes
        case .unreadable(let code): throw .unreadable(path: path, errno: code)
        case .truncated(let size, _): throw .truncated(path: path, size: size)
        case .some(let error): throw damaged(error)
        }
    }
}
