/// Decides when files that changed are read anew, and when their faults are worth a word. Knows no file and no clock.
///
/// A certificate and its key are two files, replaced one after the other: what does not fit together at one look may at
/// the next. So a fault is told when a second look finds the same files and the same fault, and then not again until a
/// file changes.
package struct ReloadSchedule<Identity: Equatable> {
    private enum State {
        /// What was read is in use, or was told to be broken; to `failedOnce` or `settled` when the files change.
        case settled([Identity])
        /// A reading failed; to `settled` by the next look that finds the same files.
        case failedOnce([Identity])
    }

    /// What to do about a reading that failed.
    package enum Verdict: Equatable {
        case tryAgain
        case tell
    }

    private var state: State

    /// - Parameter identities: of the files as they were before they were first read.
    package init(_ identities: [Identity]) { state = .settled(identities) }

    /// Whether to read the files, which look so now.
    package func isDue(_ identities: [Identity]) -> Bool {
        switch state {
        case .settled(let known): known != identities
        case .failedOnce: true
        }
    }

    /// The files, which looked so before, were read and are in use.
    package mutating func succeeded(_ identities: [Identity]) { state = .settled(identities) }

    /// The files, which looked so before, could not be used.
    package mutating func failed(_ identities: [Identity]) -> Verdict {
        if case .failedOnce(let earlier) = state, earlier == identities {
            state = .settled(identities)
            return .tell
        }
        state = .failedOnce(identities)
        return .tryAgain
    }
}
