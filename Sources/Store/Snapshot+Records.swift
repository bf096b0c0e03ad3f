extension Snapshot {
    /// Visits a table's records in order of their keys, from `start` on.
    ///
    /// Records have no revisions: they are seen as of the moment the snapshot was begun.
    public func forEachRecord(
        _ table: RecordTable, from start: [UInt8] = [],
        _ visit: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws -> Visit
    ) throws {
        guard let index = RecordTable.allCases.firstIndex(of: table) else { return }
        openWalks += 1
        defer { openWalks -= 1 }
        // The young layers keep all tables in one tree, each key behind its table's number; base has a tree a table.
        let active = try first.scan(first.environment.databases.records[0])
        let sealed = try second.scan(second.environment.databases.records[0])
        let base = try third.scan(third.environment.databases.records[index])
        defer {
            first.finish(active)
            second.finish(sealed)
            third.finish(base)
        }
        try ([table.rawValue] + start).withRawBytes { start throws(StoreError) in
            try active.seek(start)
            try sealed.seek(start)
            try base.seek(UnsafeRawBufferPointer(rebasing: start.dropFirst()))
        }
        while true {
            let candidates = [active.recordKey(table), sealed.recordKey(table), base.key]
            guard let key = candidates.compactMap(\.self).min(by: { compareBytes($0, $1) < 0 }) else { return }
            let standing = candidates.map { candidate in candidate.map { compareBytes($0, key) == 0 } ?? false }
            var value: UnsafeRawBufferPointer?
            if standing[0] {
                value = try active.recordValue()
            } else if standing[1] {
                value = try sealed.recordValue()
            } else {
                value = try base.value()
            }
            if let value, case .stop = try visit(key, value) { return }
            for (scan, isHere) in zip([active, sealed, base], standing) where isHere { try scan.next() }
        }
    }
}

extension Snapshot {
    /// One record; nil when there is none.
    public func record(in table: RecordTable, key: [UInt8]) throws -> [UInt8]? {
        var found: [UInt8]?
        try forEachRecord(table, from: key) { candidate, value in
            if candidate.elementsEqual(key) { found = Array(value) }
            return .stop
        }
        return found
    }
}

extension LayerScan {
    /// The present key in a young layer without its table's number; nil behind the table's end.
    fileprivate func recordKey(_ table: RecordTable) -> UnsafeRawBufferPointer? {
        guard let key, key.first == table.rawValue else { return nil }
        return UnsafeRawBufferPointer(rebasing: key.dropFirst())
    }

    /// The present record in a young layer; nil when it was removed.
    fileprivate func recordValue() throws(StoreError) -> UnsafeRawBufferPointer? {
        let stored = try value()
        guard stored.first == 1 else { return nil }
        return UnsafeRawBufferPointer(rebasing: stored.dropFirst())
    }
}

extension Store {
    /// Visits a table's records in order of their keys, each as bytes of its own: what is rebuilt in memory at start.
    public func forEachRecord(_ table: RecordTable, _ visit: ([UInt8], [UInt8]) throws -> Void) throws {
        try withSnapshot { snapshot in
            try snapshot.forEachRecord(table) { key, value in
                try visit(Array(key), Array(value))
                return .next
            }
        }
    }
}
