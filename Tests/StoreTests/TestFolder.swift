import Glibc
import Store
import Vocabulary

/// A folder of its own for one test, removed with it.
final class TestFolder {
    let path: String

    init() throws {
        var template = Array("/tmp/berth-store-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw StoreError.folderMissing(path: "/tmp") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { Self.remove(path) }

    /// A configuration with small layers, so that little data passes through all of them.
    func configuration(_ change: (inout StoreConfiguration) -> Void = { _ in }) -> StoreConfiguration {
        var configuration = StoreConfiguration(directory: path + "/data")
        configuration.sealBytes = 1 << 20
        configuration.youngMapBytes = 4 << 20
        configuration.baseMapBytes = 16 << 20
        change(&configuration)
        return configuration
    }

    private static func remove(_ path: String) {
        if let folder = opendir(path) {
            while let entry = readdir(folder) {
                let name = withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                if name != ".", name != ".." { remove(path + "/" + name) }
            }
            closedir(folder)
            rmdir(path)
        } else {
            unlink(path)
        }
    }
}

extension StoreWriter {
    /// Puts with bytes of its own, looking the previous version up as the state machine does.
    @discardableResult
    func put(
        _ key: [UInt8], _ value: [UInt8], lease: LeaseID = .none, at revision: Revision, sub: UInt32 = 0
    ) throws -> KeyRecord {
        try key.withUnsafeBytes { key in
            try value.withUnsafeBytes { value in
                let view = try self.view
                let previous = try view.record(of: key, at: view.revision)
                return try put(
                    key: key, value: value, lease: lease, revision: revision, sub: sub, previous: previous)
            }
        }
    }

    /// Deletes a key if it exists.
    @discardableResult
    func delete(_ key: [UInt8], at revision: Revision, sub: UInt32 = 0) throws -> Bool {
        try key.withUnsafeBytes { key in
            let view = try self.view
            guard let previous = try view.record(of: key, at: view.revision) else { return false }
            try delete(key: key, revision: revision, sub: sub, previous: previous)
            return true
        }
    }

    /// Commits as the next log entry.
    func commitNext() throws {
        try commit(appliedIndex: RaftIndex(appliedIndex.value + 1), term: RaftTerm(1))
    }

    /// Seals and waits until what was sealed is in base.
    func sealAndFlush(_ store: Store) throws {
        while !seal() { try store.flushSealed(upTo: store.durableIndex) }
        try store.flushSealed(upTo: appliedIndex)
    }
}

extension String {
    var bytes: [UInt8] { Array(utf8) }
}

extension Snapshot {
    func record(_ key: [UInt8], at revision: Revision? = nil) throws -> KeyRecord? {
        try key.withUnsafeBytes { try record(of: $0, at: revision ?? self.revision) }
    }

    func encoded(_ key: [UInt8], at revision: Revision? = nil) throws -> [UInt8]? {
        guard let record = try record(key, at: revision) else { return nil }
        return Array(try keyValue(of: record))
    }

    func keys(in range: KeyRange, at revision: Revision? = nil) throws -> [(key: [UInt8], record: KeyRecord)] {
        var found: [(key: [UInt8], record: KeyRecord)] = []
        try forEachKey(in: range, at: revision ?? self.revision) { key, record in
            found.append((Array(key), record))
            return .next
        }
        return found
    }
}
