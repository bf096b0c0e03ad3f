import EtcdAPI
import GRPCTransport
import NIOCore
import Store
import SwiftProtobuf
import Vocabulary

/// One client's Watch stream: its watches by id, and the requests that create, cancel and ask for progress.
///
/// Isolation: the event loop of its call.
package final class WatchStream: OpenEndedCall {
    /// Watches one stream may hold. What is over it is refused, with the reason; the stream goes on.
    static let maximumWatches = 100_000

    private let call: ServerCall
    private let loop: ServerLoop
    private let hub: WatchHub
    private let settings: WatchSettings
    private var watchers: [Int64: Watcher] = [:]
    /// The server's own choice of ids starts at 0, never goes back and skips ids in use.
    private var nextID: Int64 = 0
    /// Watches that wait for room in the stream.
    private var parked: [ObjectIdentifier: Watcher] = [:]
    private var isOpen = true

    init(call: ServerCall, settings: WatchSettings) {
        self.call = call
        loop = .here
        hub = loop.hub
        self.settings = settings
    }

    /// Starts serving. The call keeps the stream alive through its callbacks until it ends.
    func start() {
        loop.track(self)
        hub.open(self)
        call.onMessage = { self.receive($0) }
        // A client that only half-closes goes on receiving events, as with etcd.
        call.onHalfClose = {}
        call.onRoom = { self.roomAgain() }
        call.onCancel = { _ in self.close() }
    }

    var hasRoom: Bool { isOpen && call.hasRoom }

    var endsWithoutLeader: Bool { call.requiresLeader }

    /// Ends the stream from this side.
    func end(_ status: GRPCStatus) {
        guard isOpen else { return }
        close()
        call.finish(status)
    }

    private func close() {
        guard isOpen else { return }
        isOpen = false
        loop.untrack(self)
        hub.close(self)
        for watcher in watchers.values { hub.remove(watcher) }
        watchers = [:]
        parked = [:]
        call.onMessage = nil
        call.onHalfClose = nil
        call.onRoom = nil
        call.onCancel = nil
    }

    // MARK: - What the hub asks

    /// The header of responses at `revision`, encoded.
    func header(at revision: Revision) -> [UInt8] { settings.header(revision).encoded }

    func send(_ events: EncodedEvents, of watcher: Watcher, header: [UInt8]) {
        hub.tallies.add(.events, events.count)
        guard watcher.wantsFragments, events.bytes.count >= settings.fragmentBytes else {
            return respond(WatchResponse.encoded(header: header, watchID: watcher.id, events: events.bytes))
        }
        events.forEachFragment(limit: settings.fragmentBytes) { events, isFragment in
            respond(
                WatchResponse.encoded(header: header, watchID: watcher.id, isFragment: isFragment, events: events))
        }
    }

    /// Keeps a watch until the stream has room again.
    func park(_ watcher: Watcher) { parked[ObjectIdentifier(watcher)] = watcher }

    func watchCompacted(_ watcher: Watcher, at revision: Revision) {
        watchers[watcher.id] = nil
        respond(
            WatchResponse.canceled(header: settings.header(.zero), watchID: watcher.id, compactRevision: revision))
    }

    func watchFailed(_ watcher: Watcher, reason: String) {
        watchers[watcher.id] = nil
        respond(WatchResponse.canceled(header: currentHeader, watchID: watcher.id, reason: reason))
    }

    func progressTick() {
        for watcher in watchers.values where watcher.wantsProgress {
            let isInFuture = watcher.next > hub.publishedRevision.next
            if watcher.isLive, !isInFuture, !watcher.sentSinceTick, hasRoom {
                respond(WatchResponse.encoded(header: header(at: hub.progress(of: watcher)), watchID: watcher.id))
            }
            watcher.sentSinceTick = false
        }
    }

    private func roomAgain() {
        call.isReadingPaused = false
        let waiting = parked.values
        parked = [:]
        for watcher in waiting { hub.fallBehind(watcher) }
    }

    private var currentHeader: ResponseHeader { settings.header(hub.publishedRevision) }

    private func respond(_ response: [UInt8]) {
        guard isOpen else { return }
        call.send(response)
    }

    // MARK: - Requests

    private func receive(_ message: [UInt8]) {
        let request: Etcdserverpb_WatchRequest
        do {
            request = try Etcdserverpb_WatchRequest(serializedBytes: message)
        } catch {
            return end(GRPCStatus(EtcdError.malformed(error)))
        }
        switch request.requestUnion {
        case .createRequest(let create): self.create(create)
        case .cancelRequest(let cancel): self.cancel(cancel.watchID)
        case .progressRequest: reportProgress()
        case nil: break
        }
        // Answers are owed for requests too: a client that does not read them gets no further requests taken.
        if !call.hasRoom { call.isReadingPaused = true }
    }

    private func create(_ request: Etcdserverpb_WatchCreateRequest) {
        guard request.startRevision >= 0 else { return refuse(EtcdError.compacted.message) }
        do throws(EtcdError) {
            let key = request.key.isEmpty ? [0] : [UInt8](request.key)
            try settings.authorize(call, KeyRange(key: key, end: [UInt8](request.rangeEnd)))
        } catch {
            return refuse(error.asWatchRefusal)
        }
        guard let range = KeyRange(watching: [UInt8](request.key), end: [UInt8](request.rangeEnd)) else {
            return refuse("mvcc: watcher range is empty")
        }
        guard watchers.count < Self.maximumWatches else {
            return refuse("etcdserver: too many watches on one stream (limit \(Self.maximumWatches))")
        }
        var id = request.watchID
        if id == 0 {
            while watchers[nextID] != nil { nextID += 1 }
            id = nextID
            nextID += 1
        } else if watchers[id] != nil {
            return refuse("mvcc: duplicate watch ID provided on the WatchStream")
        }
        var shape: WatchShape = []
        if request.prevKv { shape.insert(.previousKeyValue) }
        if request.filters.contains(.noput) { shape.insert(.noPut) }
        if request.filters.contains(.nodelete) { shape.insert(.noDelete) }
        let current = hub.publishedRevision
        let watcher = Watcher(
            range: range, shape: shape, consumer: .stream(self), id: id,
            next: request.startRevision == 0 ? current.next : Revision(request.startRevision),
            wantsFragments: request.fragment, wantsProgress: request.progressNotify)
        watchers[id] = watcher
        respond(WatchResponse.created(header: settings.header(current), watchID: id))
        hub.add(watcher)
    }

    private func refuse(_ reason: String) {
        respond(WatchResponse.refused(header: currentHeader, reason: reason))
    }

    private func cancel(_ id: Int64) {
        guard let watcher = watchers.removeValue(forKey: id) else { return }
        hub.remove(watcher)
        parked[ObjectIdentifier(watcher)] = nil
        respond(WatchResponse.canceled(header: currentHeader, watchID: id))
    }

    /// Answers only when every watch of the stream has everything up to the answer's revision; silent otherwise, as
    /// etcd is since 3.5.8.
    private func reportProgress() {
        guard !watchers.isEmpty else { return }
        var reached = hub.publishedRevision
        for watcher in watchers.values {
            guard watcher.isLive, watcher.next <= hub.publishedRevision.next else { return }
            reached = min(reached, hub.progress(of: watcher))
        }
        respond(WatchResponse.encoded(header: header(at: reached), watchID: -1))
    }
}

extension EtcdError {
    /// Why a watch was refused, as Go prints a status. Clients look for these texts.
    fileprivate var asWatchRefusal: String {
        let code: String
        switch self {
        case .invalidAuthToken: code = "Unauthenticated"
        case .authRevisionOld, .userEmpty: code = "InvalidArgument"
        default: return "rpc error: code = PermissionDenied desc = \(EtcdError.permissionDenied.message)"
        }
        return "rpc error: code = \(code) desc = \(message)"
    }
}

/// What all watch streams share.
struct WatchSettings: Sendable {
    /// A response of this size or more is split when the watch asked for fragments.
    let fragmentBytes: Int
    /// The header of an answer given at a revision.
    let header: @Sendable (Revision) -> ResponseHeader
    /// Refuses a watch that the call may not have.
    let authorize: @Sendable (ServerCall, KeyRange) throws(EtcdError) -> Void
}
