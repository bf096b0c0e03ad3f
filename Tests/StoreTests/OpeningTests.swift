import Glibc
import Store
import Testing
import Vocabulary

/// What `open` says when it cannot.
@Suite struct OpeningTests {
    private func failure(_ configuration: StoreConfiguration) -> StoreError? {
        do throws(StoreError) {
            try Store.open(configuration).close()
            return nil
        } catch {
            return error
        }
    }

    @Test func `the data folder is made, for its owner only, when its parent exists`() throws {
        let folder = try TestFolder()
        try Store.open(folder.configuration()).close()
        var status = stat()
        #expect(stat(folder.path + "/data", &status) == 0)
        #expect(status.st_mode & 0o777 == 0o700)
    }

    @Test func `a missing parent, a file in the way and a forbidden folder are told apart`() throws {
        let folder = try TestFolder()
        let missing = folder.path + "/no/such/folder"
        let error = failure(folder.configuration { $0.directory = missing })
        #expect(error == .folderMissing(path: missing))
        #expect(error?.description.contains("create the parent") == true)

        let file = folder.path + "/file"
        close(creat(file, 0o600))
        #expect(failure(folder.configuration { $0.directory = file }) == .notAFolder(path: file))
        // The superuser is forbidden nothing, so /proc stands in for a folder without write rights.
        let forbidden = failure(folder.configuration { $0.directory = "/proc/berth" })
        guard case .folderMissing = forbidden else {
            guard case .notWritable = forbidden else {
                Issue.record("opened /proc: \(String(describing: forbidden))")
                return
            }
            return
        }
    }

    @Test func `a second store is kept out and told who has the folder`() throws {
        let folder = try TestFolder()
        let store = try Store.open(folder.configuration())
        let error = failure(folder.configuration())
        #expect(error == .heldByAnother(path: folder.path + "/data", pid: getpid()))
        #expect(error?.description.contains("process \(getpid())") == true)
        store.close()
        #expect(failure(folder.configuration()) == nil)
    }

    @Test func `another process that has the folder is named, and its death frees the folder`() throws {
        let folder = try TestFolder()
        try Store.open(folder.configuration()).close()
        let child = try LockHolder(folder.path + "/data/lock")
        #expect(failure(folder.configuration()) == .heldByAnother(path: folder.path + "/data", pid: child.pid))
        child.kill()
        #expect(failure(folder.configuration()) == nil)
    }

    @Test func `a closed store's folder is free although a child process still has a copy of its descriptors`() throws {
        let folder = try TestFolder()
        let store = try Store.open(folder.configuration())
        // As in a child between fork and exec: close-on-exec has not closed it yet, and the lock belongs to all copies.
        let copy = try #require(copyOfDescriptor(of: folder.path + "/data/lock"))
        store.close()
        #expect(failure(folder.configuration()) == nil)
        close(copy)
    }

    private func copyOfDescriptor(of path: String) -> Int32? {
        for file in Int32(0)..<1_024 {
            var target = [CChar](repeating: 0, count: 1_024)
            let count = readlink("/proc/self/fd/\(file)", &target, target.count)
            if count > 0, target.prefix(count).elementsEqual(path.utf8CString.dropLast()) { return dup(file) }
        }
        return nil
    }

    @Test func `files that are not LMDB's are damage, with their place`() throws {
        let folder = try TestFolder()
        try Store.open(folder.configuration()).close()
        let path = folder.path + "/data/base/data.mdb"
        let file = open(path, O_WRONLY)
        let garbage = [UInt8](repeating: 0x5a, count: 8_192)
        #expect(pwrite(file, garbage, garbage.count, 0) == garbage.count)
        close(file)
        guard case .corrupt(let place, _) = failure(folder.configuration()) else {
            Issue.record("opened garbage")
            return
        }
        #expect(place == path)
    }

    @Test func `data of another member is refused`() throws {
        let folder = try TestFolder()
        let store = try Store.open(folder.configuration())
        let identity = store.identity
        #expect(identity.clusterID != 0)
        #expect(identity.memberID != 0)
        store.close()
        let other = MemberIdentity(clusterID: identity.clusterID ^ 1, memberID: identity.memberID)
        let error = failure(folder.configuration { $0.expectedIdentity = other })
        #expect(error == .foreignIdentity(found: identity, expected: other))
        #expect(failure(folder.configuration { $0.expectedIdentity = identity }) == nil)
    }

    @Test func `an unknown format, a damaged number and a missing number are refused`() throws {
        let folder = try TestFolder()
        try Store.open(folder.configuration()).close()
        let path = folder.path + "/data/base"
        try Store.overwriteMeta(path, "format", [0, 0, 0, 0, 0, 0, 0, 9])
        #expect(failure(folder.configuration()) == .unknownFormat(path: path, found: 9, expected: 1))
        try Store.overwriteMeta(path, "format", [0, 0, 0, 0, 0, 0, 0, 1])
        try Store.overwriteMeta(path, "applied_index", [1, 2, 3])
        #expect(
            failure(folder.configuration())
                == .corrupt(place: "base/meta", detail: "applied_index has 3 bytes, not 8"))
        try Store.overwriteMeta(path, "applied_index", nil)
        #expect(failure(folder.configuration()) == .corrupt(place: "base/meta", detail: "applied_index is missing"))
    }

    @Test func `a base of an unknown format is left as it is, byte by byte`() throws {
        let folder = try TestFolder()
        try Store.open(folder.configuration()).close()
        let path = folder.path + "/data/base"
        try Store.overwriteMeta(path, "format", [0, 0, 0, 0, 0, 0, 0, 9])
        try Store.removeLongRecords(path)
        let before = try contents(path + "/data.mdb")
        #expect(failure(folder.configuration()) == .unknownFormat(path: path, found: 9, expected: 1))
        #expect(try contents(path + "/data.mdb") == before)
    }

    private func contents(_ path: String) throws -> [UInt8] {
        let file = open(path, O_RDONLY)
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: Int(lseek(file, 0, SEEK_END)))
        let count = pread(file, &bytes, bytes.count, 0)
        try #require(count == bytes.count && count > 0)
        return bytes
    }

    @Test func `a disk without room for a young layer is an error and not a dead process later`() throws {
        let folder = try TestFolder()
        let error = failure(folder.configuration { $0.youngMapBytes = 1 << 43 })
        guard case .noSpace = error else {
            Issue.record("8 TiB were found: \(String(describing: error))")
            return
        }
    }
}

/// Another process that holds a store's lock, as another server would.
private final class LockHolder {
    let pid: pid_t
    private var isGone = false

    init(_ lock: String) throws {
        let script = """
            import fcntl, os, sys, time
            f = open(sys.argv[1], "r+")
            fcntl.flock(f, fcntl.LOCK_EX)
            f.truncate(0)
            f.write(str(os.getpid()) + "\\n")
            f.flush()
            os.write(1, b"x")
            sys.stdin.read()
            """
        var toParent: [Int32] = [0, 0]
        var toChild: [Int32] = [0, 0]
        guard pipe(&toParent) == 0, pipe(&toChild) == 0 else { throw StoreError.closed }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, toChild[0], 0)
        posix_spawn_file_actions_adddup2(&actions, toParent[1], 1)
        for descriptor in toParent + toChild { posix_spawn_file_actions_addclose(&actions, descriptor) }
        let words: [String] = ["python3", "-c", script, lock]
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { (word: String) in strdup(word) }
        arguments.append(nil)
        var child: pid_t = 0
        let code = posix_spawnp(&child, "python3", &actions, nil, &arguments, environ)
        for argument in arguments { free(argument) }
        posix_spawn_file_actions_destroy(&actions)
        close(toParent[1])
        close(toChild[0])
        guard code == 0 else { throw StoreError.notWritable(path: "python3", errno: code) }
        pid = child
        var byte: UInt8 = 0
        guard read(toParent[0], &byte, 1) == 1 else { throw StoreError.closed }
        close(toParent[0])
    }

    func kill() {
        guard !isGone else { return }
        isGone = true
        _ = Glibc.kill(pid, SIGKILL)
        var status: Int32 = 0
        waitpid(pid, &status, 0)
    }

    deinit { kill() }
}
