import Dispatch
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// Takes the signals that ask this process to do something, and gives them to whoever's turn it is: one who waits in
/// line stops waiting, one who runs a command passes them on.
///
/// Those ignored when the program began are left ignored.
public final class SignalRouter: Sendable {
    private struct State {
        var receive: (@Sendable (Signal) -> Void)?
        /// Those that came while nobody had a turn; one of each kind at most.
        var pending: [Signal] = []
        var askedToEnd: Signal?
    }
    private let state = Mutex(State())
    /// Written by `init` alone, before anyone else can have this object, and read by `deinit`.
    private nonisolated(unsafe) var sources: [any DispatchSourceSignal] = []

    /// Takes the signals from now on: when this returns, none has its default effect any more.
    public init(_ signals: [Signal] = Signal.passedOn + [.continue]) {
        let notIgnored = InitialSignals.notIgnored
        let queue = DispatchQueue(label: "signals")
        for signal in signals where notIgnored.contains(signal.number) {
            let source = DispatchSource.makeSignalSource(signal: signal.number, queue: queue)
            source.setEventHandler { [weak self] in self?.take(signal) }
            // Dispatch installs its handler some time after `resume`.
            let installed = DispatchSemaphore(value: 0)
            source.setRegistrationHandler { installed.signal() }
            source.resume()
            installed.wait()
            sources.append(source)
        }
    }

    deinit { for source in sources { source.cancel() } }

    /// Gives signals to `receive` until somebody else is named; those that came meanwhile first. Nil keeps them.
    public func route(to receive: (@Sendable (Signal) -> Void)?) {
        let pending = state.withLock { state in
            state.receive = receive
            guard receive != nil else { return [Signal]() }
            defer { state.pending = [] }
            return state.pending
        }
        for signal in pending { receive?(signal) }
    }

    /// The first signal that asked this process to end, whoever got it.
    public var askedToEnd: Signal? { state.withLock { $0.askedToEnd } }

    private func take(_ signal: Signal) {
        let receive = state.withLock { state in
            if signal.asksToEnd { state.askedToEnd = state.askedToEnd ?? signal }
            if state.receive == nil, !state.pending.contains(signal) { state.pending.append(signal) }
            return state.receive
        }
        receive?(signal)
    }

    /// Runs something that a signal asking to end cancels.
    ///
    /// - Returns: what came of it, and the signal if there was one.
    public func cancelling<Value: Sendable>(
        _ body: @escaping @Sendable () async throws -> Value
    ) async -> (result: Result<Value, any Error>, signal: Signal?) {
        let seen = Mutex<Signal?>(nil)
        let task = Task { try await body() }
        route { signal in
            guard signal.asksToEnd else { return }
            seen.withLock { $0 = signal }
            task.cancel()
        }
        let result = await withTaskCancellationHandler {
            await task.result
        } onCancel: {
            task.cancel()
        }
        route(to: nil)
        return (result, seen.withLock { $0 })
    }
}
