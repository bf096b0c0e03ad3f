#if canImport(Glibc)
    import Glibc
#endif

/// A view on the terminal that is drawn over itself. It leaves the terminal as it is at any moment, so that nothing has
/// to be put back when the program is interrupted.
struct Screen {
    private var drawn = 0

    /// Draws lines in the place of those drawn before, cut to what the terminal shows.
    ///
    /// - Parameters:
    ///   - lines: cut at their end when there is no room.
    ///   - below: shown in any case.
    mutating func draw(_ lines: [String], below: [String] = []) {
        let (rows, columns) = Self.size
        var lines = lines
        let room = max(1, rows - below.count - 1)
        if lines.count > room {
            let hidden = lines.count - room + 1
            lines = lines.prefix(room - 1) + ["  and \(hidden) more"]
        }
        lines += below
        // Up to the first line drawn before, and everything from there on is cleared.
        var text = drawn > 0 ? "\u{1b}[\(drawn)A\r\u{1b}[J" : ""
        for line in lines { text += line.prefix(max(1, columns - 1)) + "\n" }
        drawn = lines.count
        print(text, terminator: "")
        fflush(nil)
    }

    private static var size: (rows: Int, columns: Int) {
        var size = winsize()
        guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_row > 0, size.ws_col > 0 else {
            return (24, 80)
        }
        return (Int(size.ws_row), Int(size.ws_col))
    }
}
