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
    /// Changes how the store is opened, for tests of its faults.
    package var changeStore: @Sendable (inout StoreConfiguration) -> Void = { _ in }
    /// How long a client may take next to nothing of a copy of the store before it loses it.
    package var snapshotStall: Duration = .seconds(60)

    /// etcd's default quota, 2 GiB.
    public static let defaultQuotaBackendBytes: Int64 = 2 << 30
    /// etcd's default request size, 1.5 MiB.
    public static let defaultMaxRequestBytes = 1_572_864
    /// etcd's default transaction size.
    public static let defaultMaxTxnOps = 128
    /// 32,768 entries.
    public static let defaultSnapshotCount = 32_768
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

/// An address clients reach a member at: `http://HOST:PORT`.
public struct ClientURL: Hashable, Sendable, CustomStringConvertible {
    /// A host name or an address, IPv6 ones without brackets.
    public let host: String
    /// 0 to 65535; 0 lets the system choose when listening.
    public let port: Int

    /// Pairs host and port.
    public init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// Reads `http://HOST:PORT`.
    ///
    /// - Throws: `SettingsError` that says what is wrong with the text.
    public init(parsing text: String) throws(SettingsError) {
        let expected = "expected http://HOST:PORT, such as http://127.0.0.1:2379"
        if text.hasPrefix("https://") {
            throw SettingsError("'\(text)' asks for TLS, which this version does not serve; \(expected)")
        }
        guard text.hasPrefix("http://") else { throw SettingsError("'\(text)' is not a client URL; \(expected)") }
        var rest = text.dropFirst("http://".count)
        if rest.hasSuffix("/") { rest = rest.dropLast() }
        let host: Substring
        let portText: Substring
        if rest.hasPrefix("["), let close = rest.firstIndex(of: "]") {
            host = rest[rest.index(after: rest.startIndex)..<close]
            let after = rest[rest.index(after: close)...]
            guard after.hasPrefix(":") else { throw SettingsError("'\(text)' has no port; \(expected)") }
            portText = after.dropFirst()
        } else {
            guard let colon = rest.lastIndex(of: ":") else {
                throw SettingsError("'\(text)' has no port; \(expected)")
            }
            host = rest[..<colon]
            portText = rest[rest.index(after: colon)...]
        }
        guard !host.isEmpty, !host.contains("/"), host.contains(":") == rest.hasPrefix("[") else {
            throw SettingsError("'\(text)' has no usable host; \(expected)")
        }
        guard let port = UInt16(portText) else {
            throw SettingsError("'\(text)' has no usable port ('\(portText)'); \(expected)")
        }
        self.init(host: String(host), port: Int(port))
    }

    /// The URL as text.
    public var description: String {
        host.contains(":") ? "http://[\(host)]:\(port)" : "http://\(host):\(port)"
    }
}
