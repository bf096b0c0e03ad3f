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
        var walks: [(layer: LayerReader, scan: LayerScan)] = []
        defer { for walk in walks { walk.layer.finish(walk.scan) } }
        for layer in [first, second, third] where !layer.isLeftOut {
            let position = layer === third ? index : 0
            let scan = try layer.scan(layer.environment.databases.records[position])
            walks.append((layer, scan))
            let key = layer === third ? start : [table.rawValue] + start
            try key.withRawBytes { key throws(StoreError) in try scan.seek(key) }
        }
        while true {
            let candidates = walks.map { $0.layer === third ? $0.scan.key : $0.scan.recordKey(table) }
            guard let key = candidates.compactMap(\.self).min(by: { compareBytes($0, $1) < 0 }) else { return }
            let standing = walks.indices.filter { place in
                candidates[place].map { compareBytes($0, key) == 0 } ?? false
            }
            if let youngest = standing.first.map({ walks[$0] }) {
                let value = try youngest.layer === third ? youngest.scan.value() : youngest.scan.recordValue()
                if let value, case .stop = try visit(key, value) { return }
            }
            for place in standing { try walks[place].scan.next() }
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
