#if canImport(Glibc)
    import Glibc
#endif

/// How this program was started, as far as commands run from it inherit that.
public enum StartConditions {
    /// Looks at everything. To be called before anything else of the program opens a file or changes a signal.
    public static func read() { _ = (InitialSignals.notIgnored, Descriptors.initial) }
}

/// Which signals were not ignored when this program began.
enum InitialSignals {
    static let notIgnored: [Int32] = (1..<32).filter { signal in
        guard signal != SIGKILL, signal != SIGSTOP else { return false }
        var action = sigaction()
        guard sigaction(signal, nil, &action) == 0 else { return false }
        return unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self)
            != unsafeBitCast(SIG_IGN, to: Int.self)
    }
}

/// Open files, as far as a command should inherit them: those this program was started with, and none that it opened
/// itself. Connections are not opened close-on-exec, and a command must not keep them open.
enum Descriptors {
    static let initial: Set<Int32> = Set(open)

    /// Marks everything this program opened as not to be inherited. What another thread opens from here to the start
    /// of the command is missed; the next command's start catches it.
    static func keepOwn() {
        for descriptor in open where descriptor > STDERR_FILENO && !initial.contains(descriptor) {
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)  // Fails only if it has been closed meanwhile.
        }
    }

    private static var open: [Int32] {
        guard let folder = opendir("/proc/self/fd") else { return [] }
        defer { closedir(folder) }
        let own = dirfd(folder)
        var descriptors: [Int32] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if let descriptor = Int32(name), descriptor != own { descriptors.append(descriptor) }
        }
        return descriptors
    }
}
