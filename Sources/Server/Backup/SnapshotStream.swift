import EtcdAPI
import GRPCTransport
import Measures
import NIOCore
import ProtobufWire
import ReplicatedLog
import Store
import Vocabulary

/// One call of a `Snapshot`, Berth's own or etcd's: has everything applied so far made durable, then sends a copy of base.
///
/// Bounds: two pieces of the file, one with the transport and one that is made or waits for room; a piece is as large as
/// the largest entry in it, some 192 KiB usually. A client that takes next to nothing for a while loses the copy.
///
/// Isolation: the event loop of its call. What takes time is done on the desk's threads, one work at a time.
final class SnapshotStream: OpenStream {
    /// What is sent.
    enum Form {
        /// Berth's own format; messages tell how far it came.
        case berth
        /// etcd's file with its SHA-256; messages tell how much is left.
        case etcd

        /// Bytes of the file in one message, at most.
        fileprivate var messageBytes: Int {
            switch self {
            case .berth: 256 << 10
            case .etcd: EtcdFileWalk.blobBytes
            }
        }
    }

    /// A client must take so much in `ServerSettings.snapshotStall`.
    private static let leastBytes = 64 << 10

    private let context: ServerContext
    private let form: Form
    private var hasRequest = false
    private var hasPlace = false
    /// A work, on the log thread or the desk's, is under way: what it uses stays until it is back.
    private var isWorking = false
    private var copy: SnapshotCopy?
    /// Made and not yet sent.
    private var piece: SnapshotCopy.Piece?
    private var sentOfPiece = 0
    private var isComplete = false
    /// Bytes of messages given to the transport.
    private var sentBytes = 0
    private let began = LeaseKeeper.now()
    private var watchdog: Scheduled<Void>?

    init(call: ServerCall, context: ServerContext, form: Form) {
        self.context = context
        self.form = form
        super.init(call: call)
    }

    override func requestsEnded() {
        if !hasRequest { end(.missingRequest) }
    }

    override func receive(_ message: [UInt8]) {
        guard !hasRequest else { return }
        hasRequest = true
        guard context.copies.takePlace() else {
            return end(
                GRPCStatus(
                    .resourceExhausted,
                    "berth: \(CopyDesk.maximumCopies) copies of the store are under way already; "
                        + "try again when one has ended"))
        }
        hasPlace = true
        seal(upTo: nil)
    }

    override func roomIsFree() {
        watchdog?.cancel()
        watchdog = nil
        pump()
    }

    override func closed() {
        watchdog?.cancel()
        watchdog = nil
        piece = nil
        if !isWorking { letGo() }
    }

    /// Ends the copy and gives the place back. Off the loop, as a piece may be in the making for a moment.
    private func letGo() {
        guard hasPlace else { return }
        hasPlace = false
        let copy = copy
        self.copy = nil
        context.copies.run { [context] in
            copy?.end()
            context.copies.giveBack()
        }
    }

    private func fail(_ error: StoreError) {
        switch error {
        case .copyEnded: end(GRPCStatus(.aborted, "berth: \(error)"))
        case .closed: end(GRPCStatus(.stopped))
        default: end(GRPCStatus(.internal, "berth: the store cannot be copied: \(error)"))
        }
    }

    // MARK: - Begin

    /// Has the log thread seal what is applied; `target` is the position to be reached, nil the one it finds.
    private func seal(upTo target: RaftIndex?) {
        let context = context
        let form = form
        let back = Return(self)
        isWorking = true
        let isAsked = context.log.execute {
            let target = target ?? context.store.writer.appliedIndex
            let attempt = context.store.sealForCopy()
            context.copies.run {
                let begun = Self.begin(attempt, target, context, form)
                back { $0.began(begun, target) }
            }
        }
        guard !isAsked else { return }
        isWorking = false
        letGo()
        end(GRPCStatus(.stopped))
    }

    /// Waits for the flush. Nil: more must be sealed first.
    private static func begin(
        _ attempt: Store.SealAttempt, _ target: RaftIndex, _ context: ServerContext, _ form: Form
    ) -> Result<SnapshotCopy?, StoreError> {
        do throws(StoreError) {
            switch attempt {
            case .failed: throw .inDoubt
            case .sealed: try context.store.flushSealed(upTo: target)
            case .mustWait:
                try context.store.awaitFlush(upTo: target)
                guard context.store.durableIndex >= target else { return .success(nil) }
            }
            let now = ServerContext.wallClock()
            switch form {
            case .berth: return .success(try context.store.beginCopy(takenAtMilliseconds: now))
            case .etcd:
                let member = EtcdFileWalk.Member(
                    id: context.identity.memberID, name: context.settings.name,
                    clientURLs: context.advertisedURLs.map(\.description))
                return .success(
                    try context.store.beginCopy(takenAtMilliseconds: now) { EtcdFileWalk($0, member: member) })
            }
        } catch {
            return .failure(error)
        }
    }

    private func began(_ result: Result<SnapshotCopy?, StoreError>, _ target: RaftIndex) {
        isWorking = false
        switch result {
        case .success(let copy): self.copy = copy
        case .failure(let error): fail(error)
        }
        guard isOpen else { return letGo() }
        if copy == nil { seal(upTo: target) } else { makePiece() }
    }

    // MARK: - Go on

    private func makePiece() {
        guard let copy else { return }
        let back = Return(self)
        isWorking = true
        context.copies.run {
            let made: Result<SnapshotCopy.Piece?, StoreError>
            do throws(StoreError) {
                made = .success(try copy.next())
            } catch {
                made = .failure(error)
            }
            back { $0.madePiece(made) }
        }
    }

    private func madePiece(_ result: Result<SnapshotCopy.Piece?, StoreError>) {
        isWorking = false
        guard isOpen else { return letGo() }
        switch result {
        case .failure(let error): fail(error)
        case .success(nil):
            isComplete = true
            pump()
        // Something was counted; nothing is there to be sent yet.
        case .success(let piece?) where piece.bytes.isEmpty: makePiece()
        case .success(let piece?):
            self.piece = piece
            sentOfPiece = 0
            pump()
        }
    }

    /// Sends what there is room for; the next piece is made while the transport has this one.
    private func pump() {
        while let piece, call.hasRoom {
            let end = min(sentOfPiece + form.messageBytes, piece.bytes.count)
            let message = message(of: piece, sentOfPiece..<end)
            sentBytes += message.bytes.count
            sentOfPiece = end
            if end == piece.bytes.count { self.piece = nil }
            call.send(message.bytes)
        }
        if piece != nil {
            watch()
        } else if isComplete {
            context.metrics.snapshots.observe(LeaseKeeper.now() - began)
            end(.ok)
        } else if !isWorking {
            makePiece()
        }
    }

    /// `berth.v1.SnapshotChunk` or `etcdserverpb.SnapshotResponse`, whose header etcd leaves out.
    private func message(of piece: SnapshotCopy.Piece, _ range: Range<Int>) -> WireWriter {
        var message = WireWriter(capacity: range.count + 32)
        piece.bytes.withUnsafeBytes { bytes in
            let blob = UnsafeRawBufferPointer(rebasing: bytes[range])
            switch form {
            case .berth:
                message.bytesField(1, blob)
                message.uint64Field(2, piece.done)
                message.uint64Field(3, piece.total)
            case .etcd:
                message.uint64Field(2, piece.total - piece.done + UInt64(piece.bytes.count - range.upperBound))
                message.bytesField(3, blob)
            }
        }
        return message
    }

    /// Looks after the client while there is no room.
    private func watch() {
        guard watchdog == nil else { return }
        let taken = takenBytes
        watchdog = loop.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(context.settings.snapshotStall)) {
            self.watchdog = nil
            guard self.isOpen, self.piece != nil else { return }
            guard self.takenBytes - taken < Self.leastBytes else { return self.watch() }
            self.end(
                GRPCStatus(
                    .resourceExhausted,
                    "berth: the copy was given up, as its client took less than \(Self.leastBytes >> 10) KiB in "
                        + "\(self.context.settings.snapshotStall); begin it again where it can be read faster"))
        }
    }

    /// Bytes that have left the transport's queue.
    private var takenBytes: Int { sentBytes - call.queuedBytes }
}

/// The way back from another thread to a stream and its loop.
private struct Return: Sendable {
    private let stream: NIOLoopBound<SnapshotStream>
    private let eventLoop: any EventLoop

    init(_ stream: SnapshotStream) {
        eventLoop = stream.loop.eventLoop
        self.stream = NIOLoopBound(stream, eventLoop: eventLoop)
    }

    func callAsFunction(_ body: @escaping @Sendable (SnapshotStream) -> Void) {
        eventLoop.execute { body(stream.value) }
    }
}
