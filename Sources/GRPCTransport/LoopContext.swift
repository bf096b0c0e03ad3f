import NIOCore

/// Something on an accepted channel that a server can ask to leave.
protocol ServerMember: AnyObject {
    /// Let calls finish, take no new ones.
    func drain()
    /// End everything at once.
    func abort()
}

/// What all connections of one event loop share: the list of those with something to send, so that everything
/// produced in one turn leaves in one write each, and the buffer those writes are put together in, so that an idle
/// connection holds none.
final class LoopContext: @unchecked Sendable {
    // Sendable: every mutable member is touched on `eventLoop` alone, checked where others can call.
    let eventLoop: any EventLoop
    /// This loop's counts; nil where nobody counts.
    let meter: LoopMeter?
    @exclusivity(unchecked) var output = ByteBuffer()
    @exclusivity(unchecked) private var dirty: [HTTP2Connection] = []
    @exclusivity(unchecked) private var flushed: [HTTP2Connection] = []
    private var isFlushScheduled = false
    private var held: [HTTP2Connection] = []
    private var members: [ObjectIdentifier: (member: any ServerMember, channel: any Channel)] = [:]
    private var isDraining = false
    private var isAborted = false
    private var runningTasks = 0
    private var tasksDone: EventLoopPromise<Void>?

    private static let holdTime = TimeAmount.milliseconds(5)

    init(eventLoop: any EventLoop, meter: LoopMeter? = nil) {
        self.eventLoop = eventLoop
        self.meter = meter
    }

    /// Sees to it that `connection` flushes before the loop waits for events again.
    func markDirty(_ connection: HTTP2Connection) {
        dirty.append(connection)
        guard !isFlushScheduled else { return }
        isFlushScheduled = true
        eventLoop.execute { self.flushDirty() }
    }

    private func flushDirty() {
        isFlushScheduled = false
        swap(&dirty, &flushed)
        for connection in flushed {
            connection.isDirty = false
            connection.flush()
        }
        flushed.removeAll(keepingCapacity: true)
    }

    /// Sees to it that `connection` has answered its peer's pings in `holdTime`, if nothing else is sent before.
    func hold(_ connection: HTTP2Connection) {
        guard !connection.isHeld else { return }
        connection.isHeld = true
        held.append(connection)
        if held.count == 1 { _ = eventLoop.assumeIsolated().scheduleTask(in: Self.holdTime) { self.flushHeld() } }
    }

    private func flushHeld() {
        let connections = held
        held = []
        for connection in connections {
            connection.isHeld = false
            if connection.unansweredPings > 0 { connection.flush() }
        }
    }

    // MARK: Members

    /// Registers what handles `channel` now, in place of what did before.
    func join(_ member: any ServerMember, channel: any Channel) {
        eventLoop.preconditionInEventLoop()
        members[ObjectIdentifier(channel)] = (member, channel)
        if isAborted { member.abort() } else if isDraining { member.drain() }
    }

    func leave(channel: any Channel) {
        eventLoop.preconditionInEventLoop()
        members[ObjectIdentifier(channel)] = nil
    }

    /// Asks every connection, and every later one, to leave; done when the last is closed.
    func drain() -> EventLoopFuture<Void> {
        eventLoop.preconditionInEventLoop()
        isDraining = true
        let present = Array(members.values)
        for (member, _) in present { member.drain() }
        let tasks = tasksDone ?? eventLoop.makePromise()
        tasksDone = tasks
        if runningTasks == 0 || isAborted { tasks.succeed(()) }
        let ends = present.map { $0.channel.closeFuture } + [tasks.futureResult]
        return EventLoopFuture.andAllComplete(ends, on: eventLoop)
    }

    // MARK: Tasks of async handlers

    func taskStarted() {
        eventLoop.preconditionInEventLoop()
        runningTasks += 1
    }

    func taskEnded() {
        eventLoop.preconditionInEventLoop()
        runningTasks -= 1
        if runningTasks == 0 { tasksDone?.succeed(()) }
    }

    /// Ends everything at once. Handlers' tasks are cancelled with their calls, and not waited for any longer.
    func abort() {
        eventLoop.preconditionInEventLoop()
        isAborted = true
        for (member, _) in Array(members.values) { member.abort() }
        tasksDone?.succeed(())
    }
}
