package import Logging
import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// What TLS connections are served with, kept up with the files: they are looked at once a second, and read when one
/// changed. Connections that exist keep what they began with. Files that cannot be used leave the old in use.
///
/// Usable from any thread. Files are read on a pool thread.
package final class TLSCredentials: Sendable {
    private struct State {
        var material: TLSMaterial
        var schedule: ReloadSchedule<WatchedFile.Identity?>
    }

    private let settings: TLSSettings
    private let files: [WatchedFile]
    private let logger: Logger
    private let state: Mutex<State>
    private let watch = Mutex<RepeatedTask?>(nil)

    static let lookInterval = TimeAmount.seconds(1)

    /// Reads the files for the first time. Blocks.
    ///
    /// - Throws: `SettingsError` naming the setting that is wrong.
    package init(_ settings: TLSSettings, logger: Logger) throws(SettingsError) {
        self.settings = settings
        self.logger = logger
        files = TLSMaterial.files(settings)
        let identities = files.map(\.identity)
        let material = try TLSMaterial(settings, now: Self.now)
        state = Mutex(State(material: material, schedule: ReloadSchedule(identities)))
        tell(material)
    }

    /// What a new connection is served with.
    var material: TLSMaterial { state.withLock { $0.material } }

    /// Seconds since 1970.
    static var now: Int { time(nil) }

    /// Begins to look at the files; `stop` ends it.
    func start(on eventLoop: any EventLoop) {
        let task = eventLoop.scheduleRepeatedAsyncTask(initialDelay: Self.lookInterval, delay: Self.lookInterval) { _ in
            NIOThreadPool.singleton.runIfActive(eventLoop: eventLoop) { self.look() }
        }
        watch.withLock { $0 = task }
    }

    /// Looks at the files no more.
    func stop() {
        watch.withLock { task in
            task?.cancel()
            task = nil
        }
    }

    /// Reads the files if they changed. Blocks; one call at a time.
    package func look() {
        let identities = files.map(\.identity)
        guard state.withLock({ $0.schedule.isDue(identities) }) else { return }
        do throws(SettingsError) {
            let material = try TLSMaterial(settings, now: Self.now)
            state.withLock { state in
                state.material = material
                state.schedule.succeeded(identities)
            }
            logger.info("TLS certificates were read anew", metadata: ["expire": "\(material.notValidAfterText)"])
            tell(material)
        } catch {
            guard state.withLock({ $0.schedule.failed(identities) }) == .tell else { return }
            logger.error(
                "TLS certificates changed and cannot be used; those read before stay in use",
                metadata: ["reason": "\(error)"])
        }
    }

    private func tell(_ material: TLSMaterial) {
        for warning in material.warnings { logger.warning("\(warning)") }
    }
}

extension TLSMaterial {
    /// When the server's certificate runs out, as `2030-01-31T12:00:00Z`.
    var notValidAfterText: String {
        var seconds = time_t(notValidAfter)
        var parts = tm()
        guard gmtime_r(&seconds, &parts) != nil else { return "\(notValidAfter)" }
        func digits(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return "\(parts.tm_year + 1900)-\(digits(parts.tm_mon + 1))-\(digits(parts.tm_mday))"
            + "T\(digits(parts.tm_hour)):\(digits(parts.tm_min)):\(digits(parts.tm_sec))Z"
    }
}
