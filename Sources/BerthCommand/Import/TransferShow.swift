import ArgumentParser
import Berth
import CommandText
import Supervision
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// Runs a transfer and shows it: progress on standard error, the result on standard output.
struct TransferShow {
    /// The word for what is done, as `imported`.
    let done: String
    let writeOut: WriteOut

    /// Exit status when the sides differ, as of `berth get` for a key that is not there.
    static let differ: Int32 = 1

    func run(_ transfer: Transfer) async throws {
        let start = ContinuousClock.now
        let progress = TransferProgressLine(isWanted: writeOut == .simple)
        let report: TransferReport
        do {
            report = try await transfer.run { progress.tell($0) }
        } catch {
            progress.end()
            throw error
        }
        progress.end()
        let elapsed = ContinuousClock.now - start
        switch writeOut {
        case .json: Output.line(JSON(report, elapsed: elapsed))
        case .simple:
            for line in TransferText.result(report, done: done, elapsed: elapsed) { Output.line(line) }
        }
        guard !report.isVerified else { return }
        for line in TransferText.differences(report) { Output.complain(line) }
        throw ExitCode(Self.differ)
    }

    func survey(_ transfer: Transfer) async throws {
        let progress = TransferProgressLine(isWanted: writeOut == .simple)
        let survey: TransferSurvey
        do {
            survey = try await transfer.survey { progress.tell($0) }
        } catch {
            progress.end()
            throw error
        }
        progress.end()
        switch writeOut {
        case .json: Output.line(JSON(survey))
        case .simple: for line in TransferText.survey(survey) { Output.line(line) }
        }
    }
}

/// Progress on standard error: on a terminal one line drawn over itself, else a line every few seconds.
final class TransferProgressLine: Sendable {
    private struct State {
        var stage = TransferProgress.Stage.looking
        var stageStart = ContinuousClock.now
        var lastDrawn: ContinuousClock.Instant?
        var isDrawn = false
    }
    private let state = Mutex(State())
    private let isTerminal = Output.isErrorTerminal
    private let isWanted: Bool

    /// - Parameter isWanted: for readers that are no terminal.
    init(isWanted: Bool) { self.isWanted = isWanted }

    /// Shows how far it came, if it is time.
    func tell(_ progress: TransferProgress) {
        guard isTerminal || isWanted else { return }
        let pause: Duration = isTerminal ? .milliseconds(100) : .seconds(5)
        state.withLock { state in
            let now = ContinuousClock.now
            let isNew = progress.stage != state.stage
            if isNew {
                state.stage = progress.stage
                state.stageStart = now
            }
            if state.lastDrawn == nil { state.lastDrawn = now }
            guard let last = state.lastDrawn, now - last >= pause || (isNew && isTerminal) else { return }
            state.lastDrawn = now
            if isTerminal {
                let bar = TransferText.bar(progress, elapsed: now - state.stageStart, width: Self.columns)
                ProgressLine.write("\r\u{1b}[K" + bar)
                state.isDrawn = true
            } else {
                ProgressLine.write(TransferText.line(progress) + "\n")
            }
        }
    }

    /// Clears the line, for what is written next.
    func end() {
        let wasDrawn = state.withLock { state in
            defer { state.isDrawn = false }
            return state.isDrawn
        }
        if wasDrawn { ProgressLine.write("\r\u{1b}[K") }
    }

    private static var columns: Int {
        var size = winsize()
        guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
        return Int(size.ws_col)
    }
}
