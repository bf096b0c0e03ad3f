import Logging
import StateMachine
package import Store

/// What a member is told at start. Values are checked when it is made, so a running server holds only good ones.
public struct ServerSettings: Sendable {
    /// The member's name in MemberList.
    public var name: String
    /// Folder of the store and the log.
    public var dataDirectory: String
    /// Addresses to accept clients on.
    public var listenClientURLs: [ClientURL]
    /// Addresses MemberList tells clients to dial; nil means those it listens on.
    public var advertiseClientURLs: [ClientURL]?
    /// Bytes of pages in use from which writes are refused; zero or less means without limit.
    public var quotaBackendBytes: Int64
    /// Largest encoded write request in bytes.
    public var maxRequestBytes: Int
    /// Most operations in one transaction.
    public var maxTxnOps: Int
    /// Faults for a rig to notice; none, and no option of any command sets them.
    package var faults = PlantedFaults()
    /// When what was written is flushed from memory to the store on disk.
    public var flush = FlushSettings.standard
    /// Log entries between two checkpoints, behind which the log is cut; each flushes the store as well. 1 to 4,194,304.
    public var snapshotCount = ServerSettings.defaultSnapshotCount
    /// When the member compacts by itself.
    public var autoCompaction = AutoCompactionSettings.off
    /// Who may do what.
    public var auth = AuthSettings()
    /// Certificates for `https` addresses; nil when there are none.
    public var tls: TLSSettings?
    /// What is served over plain HTTP beside gRPC.
    public var http = HTTPSettings()
    /// Bounds and times of client connections.
    public var connections = ConnectionSettings()
    /// How often watches that ask for it hear that nothing happened; 100 ms at least.
    public var watchProgressInterval: Duration = .seconds(600)
    /// Whether `/metrics` has histograms of each method's times.
    public var hasExtensiveMetrics = false
    /// Changes how the store is opened, for tests of its faults.
    package var changeStore: @Sendable (inout StoreConfiguration) -> Void = { _ in }
    /// How long a client may take next to nothing of a copy of the store before it loses it.
    package var snapshotStall: Duration = .seconds(60)

    /// The version of etcd that a member says it is.
    public static var etcdVersion: String { MaintenanceService.etcdVersion }
    /// etcd's default quota, 2 GiB.
    public static let defaultQuotaBackendBytes: Int64 = 2 << 30
    /// etcd's default request size, 1.5 MiB.
    public static let defaultMaxRequestBytes = 1_572_864
    /// etcd's default transaction size.
    public static let defaultMaxTxnOps = 128
    /// 32,768 entries.
    public static let defaultSnapshotCount = 32_768
    /// Watches are not told of progress more often than this.
    static let minWatchProgressInterval: Duration = .milliseconds(100)
    /// What a gRPC message may hold beyond the request size, as in etcd.
    static let messageOverhead = 512 << 10

    /// - Parameters:
    ///   - advertiseClientURLs: nil advertises the listen addresses.
    ///   - quotaBackendBytes: zero means etcd's default, a negative number no limit.
    /// - Throws: `SettingsError` naming the setting that is wrong.
    public init(
        name: String, dataDirectory: String, listenClientURLs: [ClientURL], advertiseClientURLs: [ClientURL]?,
        quotaBackendBytes: Int64, maxRequestBytes: Int, maxTxnOps: Int
    ) throws(SettingsError) {
        guard !name.isEmpty else { throw SettingsError("--name is empty; give the member a name, such as 'default'") }
        guard !dataDirectory.isEmpty else {
            throw SettingsError("--data-dir is empty; name the folder that holds the store")
        }
        guard !listenClientURLs.isEmpty else {
            throw SettingsError("--listen-client-urls is empty; give at least one, such as http://127.0.0.1:2379")
        }
        if let advertiseClientURLs, advertiseClientURLs.isEmpty {
            throw SettingsError("--advertise-client-urls is empty; leave it out to advertise the listen URLs")
        }
        guard (1...(64 << 20)).contains(maxRequestBytes) else {
            throw SettingsError("--max-request-bytes is \(maxRequestBytes); expected 1 to \(64 << 20)")
        }
        guard (1...100_000).contains(maxTxnOps) else {
            throw SettingsError("--max-txn-ops is \(maxTxnOps); expected 1 to 100000")
        }
        self.name = name
        self.dataDirectory = dataDirectory
        self.listenClientURLs = listenClientURLs
        self.advertiseClientURLs = advertiseClientURLs
        self.quotaBackendBytes = quotaBackendBytes == 0 ? Self.defaultQuotaBackendBytes : quotaBackendBytes
        self.maxRequestBytes = maxRequestBytes
        self.maxTxnOps = maxTxnOps
    }

    var limits: Limits {
        Limits(maxTxnOps: maxTxnOps, maxRequestBytes: maxRequestBytes)
    }
}

/// A setting that cannot be used: which, why, and what would do.
public struct SettingsError: Error, CustomStringConvertible, Sendable {
    /// One line for a person.
    public let description: String

    /// Wraps the line.
    public init(_ description: String) { self.description = description }
}
