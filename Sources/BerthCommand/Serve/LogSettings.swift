import CommandText
import Configuration
import Logging

#if canImport(Glibc)
    import Glibc
#endif

/// What the log looks like, and where its lines go.
struct LogSettings {
    var level = Logger.Level.info
    /// As etcd writes lines, or as people read them.
    var isJSON = false
    var outputs: [Output] = [.standardError]

    enum Output: Hashable {
        case standardError
        case standardOutput
        case file(String)
    }

    static func outputs(_ value: SettingValue) throws -> [Output] {
        var outputs: [Output] = []
        for word in value.list() {
            let output: Output =
                switch word {
                case "stderr", "default", "systemd/journal": .standardError
                case "stdout": .standardOutput
                default: .file(word)
                }
            if !outputs.contains(output) { outputs.append(output) }
        }
        guard !outputs.isEmpty else { throw value.mistake(expected: "stderr, stdout or files") }
        return outputs
    }
}

/// The open ends of the log. Each line is one write to a descriptor in append mode, so that lines of different threads and
/// processes never mix; a line that cannot be written is lost, as a server must not stop for its log.
struct LogSink: Sendable {
    private let descriptors: [Int32]
    private let isJSON: Bool

    /// Opens the files, which stay open until the process ends.
    ///
    /// - Throws: `ConfigurationError` for a file that cannot be opened.
    init(_ settings: LogSettings) throws(ConfigurationError) {
        isJSON = settings.isJSON
        var descriptors: [Int32] = []
        for output in settings.outputs {
            switch output {
            case .standardError: descriptors.append(STDERR_FILENO)
            case .standardOutput: descriptors.append(STDOUT_FILENO)
            case .file(let path):
                let descriptor = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o640)
                guard descriptor >= 0 else {
                    let reason = String(cString: strerror(errno))
                    throw ConfigurationError(
                        "--log-outputs has '\(path)': \(reason); expected a file that can be written, stderr or stdout")
                }
                descriptors.append(descriptor)
            }
        }
        self.descriptors = descriptors
    }

    /// What a logger writes with.
    func handler(label: String) -> any LogHandler {
        isJSON ? JSONLogHandler(sink: self) : StreamLogHandler(label: label, stream: self)
    }
}

extension LogSink: TextOutputStream {
    func write(_ line: String) {
        var line = line
        line.withUTF8 { bytes in
            for descriptor in descriptors { _ = Glibc.write(descriptor, bytes.baseAddress, bytes.count) }
        }
    }
}

/// Lines in the shape that etcd gives them (zap's production encoding): `level`, `ts`, `logger`, `msg`, and the metadata as
/// further fields.
struct JSONLogHandler: LogHandler {
    let sink: LogSink
    var logLevel = Logger.Level.info
    var metadata = Logger.Metadata()
    var metadataProvider: Logger.MetadataProvider?

    init(sink: LogSink) { self.sink = sink }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var fields: [JSON.Field] = [
            .init("level", Self.name(event.level)), .init("ts", Self.timestamp()), .init("logger", event.source),
            .init("msg", "\(event.message)"),
        ]
        var all = metadata
        all.merge(metadataProvider?.get() ?? [:]) { $1 }
        all.merge(event.metadata ?? [:]) { $1 }
        if let error = event.error { all["error"] = "\(error)" }
        fields += all.sorted { $0.key < $1.key }.map { .init($0.key, "\($0.value)") }
        sink.write(JSON.object(fields).line + "\n")
    }

    /// zap's levels: the nearest of them.
    private static func name(_ level: Logger.Level) -> String {
        switch level {
        case .trace, .debug: "debug"
        case .info, .notice: "info"
        case .warning: "warn"
        case .error, .critical: "error"
        }
    }

    /// `2026-01-31T23:59:59.123Z`.
    private static func timestamp() -> String {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        var parts = tm()
        gmtime_r(&now.tv_sec, &parts)
        func two(_ number: some BinaryInteger) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let milliseconds = now.tv_nsec / 1_000_000
        return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))T"
            + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))."
            + "\(milliseconds < 100 ? "0" : "")\(two(milliseconds))Z"
    }
}
