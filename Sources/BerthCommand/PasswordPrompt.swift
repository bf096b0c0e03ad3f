#if canImport(Glibc)
    import Glibc
#endif

/// Asks for a password at the terminal, which does not show it. Standard input is left alone: commands read it.
enum PasswordPrompt {
    private static let longest = 4096
    /// Ctrl-C.
    private static let interrupt: UInt8 = 3

    /// What was typed, without the end of the line.
    ///
    /// - Throws: when there is no terminal to ask at.
    static func ask(_ question: String) throws(Failure) -> String {
        let terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)
        guard terminal >= 0 else {
            throw Failure(
                "there is no terminal to ask for a password at; give name:password, --password or BERTH_PASSWORD")
        }
        defer { close(terminal) }
        var shown = termios()
        guard tcgetattr(terminal, &shown) == 0 else {
            throw Failure("the terminal cannot be told to hide a password: \(String(cString: strerror(errno)))")
        }
        var hidden = shown
        // Without signals, so that nothing ends this process while the terminal shows nothing: Ctrl-C ends the line.
        hidden.c_lflag &= ~tcflag_t(ECHO | ISIG)
        hidden.c_lflag |= tcflag_t(ICANON | ECHONL)
        withUnsafeMutableBytes(of: &hidden.c_cc) { $0[Int(VEOL)] = interrupt }
        // Before anybody is asked: what was typed until now is dropped, and what is typed then is not shown.
        tcsetattr(terminal, TCSAFLUSH, &hidden)
        defer { tcsetattr(terminal, TCSAFLUSH, &shown) }
        tell(question, terminal)
        return try line(terminal)
    }

    private static func tell(_ text: String, _ terminal: Int32) {
        var text = text
        text.withUTF8 { _ = write(terminal, $0.baseAddress, $0.count) }
    }

    private static func line(_ terminal: Int32) throws(Failure) -> String {
        var bytes: [UInt8] = []
        var byte: UInt8 = 0
        while bytes.count < longest {
            let count = read(terminal, &byte, 1)
            if count < 0, errno == EINTR { continue }
            guard count == 1, byte != interrupt else { break }
            if byte == UInt8(ascii: "\n") { return String(decoding: bytes, as: UTF8.self) }
            bytes.append(byte)
        }
        throw Failure("no password was typed")
    }
}
