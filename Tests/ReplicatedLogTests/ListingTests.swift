import CRaft
import CRaftHost
import Glibc
import Testing

/// A folder that cannot be listed, as libraft meets it.
struct ListingTests {
    private static func list(_ folder: String, seesErrors: Bool) -> Int32 {
        raft_host_sees_listing_errors(seesErrors)
        defer { raft_host_sees_listing_errors(false) }
        var request = uv_fs_t()
        defer { uv_fs_req_cleanup(&request) }
        let count = uv_fs_scandir(nil, &request, folder, 0, nil)
        var entry = uv_dirent_t()
        if count == 0 { #expect(uv_fs_scandir_next(&request, &entry) == Int32(UV_EOF.rawValue)) }
        return count
    }

    @Test func `is empty for a worker, which would free what was never set, and an error for the log's thread`() {
        #expect(Self.list("/nonexistent", seesErrors: false) == 0)
        #expect(Self.list("/nonexistent", seesErrors: true) == -ENOENT)
        let folder = TestFolder()
        folder.write("a", [1])
        folder.write("b", [1])
        #expect(Self.list(folder.path, seesErrors: false) == 2)
        #expect(Self.list(folder.path, seesErrors: true) == 2)
    }

    @Test func `stays an error for everybody else`() throws {
        typealias ScanFolder =
            @convention(c) (
                UnsafePointer<CChar>, UnsafeMutableRawPointer, UnsafeRawPointer?, UnsafeRawPointer?
            ) -> Int32
        // As the dynamic linker finds it: this program's own.
        let found = try #require(dlsym(nil, "scandir64"))
        let scan = unsafeBitCast(found, to: ScanFolder.self)
        var entries: UnsafeMutableRawPointer?
        errno = 0
        let count = scan("/nonexistent", &entries, nil, nil)
        let error = errno
        #expect(count == -1)
        #expect(error == ENOENT)
    }
}
