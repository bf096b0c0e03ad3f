#if canImport(Glibc)
    import Glibc
#endif

/// The terminal this process runs under, and whose turn it is there.
///
/// The command has a process group of its own, so the terminal must be told that this group is in the foreground now:
/// then Ctrl-C and Ctrl-Z reach the command, once, and reach nobody else.
struct Terminal: Sendable {
    private let descriptor: Int32

    /// Nil without a controlling terminal.
    init?() {
        let opened = open("/dev/tty", O_RDWR | O_CLOEXEC)
        guard opened >= 0 else { return nil }
        descriptor = opened
    }

    /// Whether this process's group is in the foreground.
    var isOurs: Bool { tcgetpgrp(descriptor) == getpgrp() }

    /// Whether a process group is in the foreground, or this process's, which could hand the terminal over.
    func isAvailable(to group: Int32) -> Bool { [group, getpgrp()].contains(tcgetpgrp(descriptor)) }

    /// Puts a process group into the foreground.
    func give(to group: Int32) {
        // Doing so from the background would stop this process.
        var blocked = sigset_t()
        var before = sigset_t()
        sigemptyset(&blocked)
        sigaddset(&blocked, SIGTTOU)
        pthread_sigmask(SIG_BLOCK, &blocked, &before)
        tcsetpgrp(descriptor, group)
        pthread_sigmask(SIG_SETMASK, &before, nil)
    }

    /// Takes the terminal back from a group that has it, and from nobody else.
    func takeBack(from group: Int32) {
        if tcgetpgrp(descriptor) == group { give(to: getpgrp()) }
    }

    func close() { _ = Glibc.close(descriptor) }
}
