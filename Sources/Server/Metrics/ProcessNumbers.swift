#if canImport(Glibc)
    import Glibc
#endif

/// What the kernel says of this process. Cheap whatever the process holds, so that a scrape can ask on an event loop.
struct ProcessNumbers: Sendable {
    var residentBytes = 0.0
    var virtualBytes = 0.0
    var virtualBytesLimit = 0.0
    var cpuSeconds = 0.0
    var openFiles = 0.0
    var fileLimit = 0.0

    /// When the process began, in seconds since 1970; zero when the kernel does not say.
    static let startTime: Double = readStartTime()

    /// As it is now.
    init() {
        let pages = Self.read("/proc/self/statm").split(separator: " ").compactMap { Double($0) }
        let pageSize = Double(sysconf(Int32(_SC_PAGESIZE)))
        if pages.count > 1 {
            virtualBytes = pages[0] * pageSize
            residentBytes = pages[1] * pageSize
        }
        var usage = rusage()
        if getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 {
            cpuSeconds = Self.seconds(usage.ru_utime) + Self.seconds(usage.ru_stime)
        }
        openFiles = Double(Self.countOpenFiles())
        fileLimit = Self.limit(RLIMIT_NOFILE)
        virtualBytesLimit = Self.limit(RLIMIT_AS)
    }

    private static func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }

    private static func limit(_ resource: __rlimit_resource) -> Double {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(resource.rawValue), &limit) == 0 else { return 0 }
        return Double(limit.rlim_cur)
    }

    private static func countOpenFiles() -> Int {
        guard let folder = opendir("/proc/self/fd") else { return 0 }
        defer { closedir(folder) }
        // Itself, `.` and `..` do not count.
        var count = -3
        while readdir(folder) != nil { count += 1 }
        return max(0, count)
    }

    /// Field 22 of `stat` counts clock ticks since the machine began, which `/proc/stat` tells.
    private static func readStartTime() -> Double {
        let fields = read("/proc/self/stat")
        // The name, in parentheses, may hold spaces: fields are counted behind it.
        guard let end = fields.lastIndex(of: ")") else { return 0 }
        let rest = fields[fields.index(after: end)...].split(separator: " ")
        let boot = read("/proc/stat").split(separator: "\n").first { $0.hasPrefix("btime ") }?.dropFirst(6)
        guard rest.count > 19, let ticks = Double(rest[19]), let boot, let began = Double(boot) else { return 0 }
        return began + ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    /// A file of `/proc`, at most 1 MiB; empty when it cannot be read.
    private static func read(_ path: String) -> String {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return "" }
        defer { close(file) }
        var bytes: [UInt8] = []
        while bytes.count < 1 << 20 {
            let part = [UInt8](unsafeUninitializedCapacity: 16 << 10) { buffer, count in
                count = max(0, Glibc.read(file, buffer.baseAddress, buffer.count))
            }
            guard !part.isEmpty else { break }
            bytes += part
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
