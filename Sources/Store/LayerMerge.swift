import Vocabulary

/// Walks the same tree of several layers as one, in key order. Where layers hold the same key, the youngest decides.
struct LayerMerge {
    private struct Source {
        let layer: LayerReader
        let scan: LayerScan
    }

    /// Youngest first. Layers that have run out are taken off.
    private var sources: [Source] = []
    /// Which sources stand on `key`: bit n is source n.
    private var standing: UInt8 = 0
    /// The smallest key any layer stands on; nil at the end.
    private(set) var key: UnsafeRawBufferPointer?

    init(
        _ snapshot: Snapshot, from start: [UInt8], tree: (LayerReader) -> Environment.Tree
    ) throws(StoreError) {
        for layer in [snapshot.first, snapshot.second, snapshot.third] where !layer.isLeftOut {
            let scan = try layer.scan(tree(layer))
            sources.append(Source(layer: layer, scan: scan))
            try start.withRawBytes { bytes throws(StoreError) in try scan.seek(bytes) }
        }
        retire()
        choose()
    }

    /// The newest record of the present key at or before a revision, a deletion's mark included.
    func newest(at revision: Revision) throws(StoreError) -> KeyRecord? {
        if sources.count == 1 { return try sources[0].scan.newest(at: revision) }
        for (index, source) in sources.enumerated() where standing & (1 << UInt8(index)) != 0 {
            if let record = try source.scan.newest(at: revision) { return record }
        }
        return nil
    }

    /// Goes to the next key.
    mutating func next() throws(StoreError) {
        // Most of a large range is in base alone.
        if sources.count == 1 {
            try sources[0].scan.next()
            key = sources[0].scan.key
            return
        }
        for (index, source) in sources.enumerated() where standing & (1 << UInt8(index)) != 0 {
            try source.scan.next()
        }
        retire()
        choose()
    }

    /// Gives the walks back for the next use.
    mutating func finish() {
        for source in sources { source.layer.finish(source.scan) }
        sources = []
    }

    private mutating func retire() {
        for index in sources.indices.reversed() where sources[index].scan.key == nil {
            sources[index].layer.finish(sources[index].scan)
            sources.remove(at: index)
        }
    }

    private mutating func choose() {
        var smallest: UnsafeRawBufferPointer?
        standing = 0
        for (index, source) in sources.enumerated() {
            guard let candidate = source.scan.key else { continue }
            let order = smallest.map { compareBytes(candidate, $0) } ?? -1
            if order < 0 {
                smallest = candidate
                standing = 1 << UInt8(index)
            } else if order == 0 {
                standing |= 1 << UInt8(index)
            }
        }
        key = smallest
    }
}
