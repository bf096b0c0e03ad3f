/// Where the servers are, and how to speak with them.
public struct BerthConfiguration: Sendable {
    /// `http://host:port`, `https://host:port` or `host:port`, which means TLS when `tls` is set. Port 2379 unless
    /// given. All belong to one cluster and are tried in turn.
    public var endpoints: [String]
    /// How `https` servers are judged, and what this client shows them; nil trusts the system's authorities.
    public var tls: TLS?
    /// User and password, when the servers ask for them.
    public var credentials: Credentials?
    /// Longest wait for an answer, tries at all servers included. Waiting for a lock does not count.
    public var requestTimeout: Duration = .seconds(5)
    /// Longest wait for one connection to stand.
    public var connectTimeout: Duration = .seconds(2)
    /// An open call's connection is asked whether it lives after this long without a byte. Servers object to less
    /// than five seconds.
    public var keepaliveInterval: Duration = .seconds(10)
    /// A connection that does not answer that for so long is given up.
    public var keepaliveTimeout: Duration = .seconds(5)
    /// A connection without a call for this long is closed; the next call makes a new one.
    public var idleTimeout: Duration = .seconds(1800)
    /// Longest answer taken, in bytes; a longer one is `.tooLarge`. Servers bound ranges by the number of keys alone.
    public var longestAnswer = Int(Int32.max)
    /// Shown to others beside locks and candidacies that name no owner of their own; host and process id unless set.
    public var owner: String = BerthConfiguration.defaultOwner
    /// What this package's tests set.
    package var pace = Pace()

    /// Servers to speak with; everything else as it is.
    public init(endpoints: [String] = ["http://127.0.0.1:2379"]) { self.endpoints = endpoints }

    /// Times that are right as they are; tests change them, so as to wait for events and not for the clock.
    package struct Pace: Sendable {
        /// How often a lease is renewed; nil means every third of its time.
        package var renewalInterval: Duration?
        /// Called when a server has answered that it renewed a lease, on the task that reads the answers.
        package var onRenewal: (@Sendable (LeaseID) -> Void)?
        /// Longest wait for the reason why a place is gone: whoever holds it is told only then.
        package var reasonTimeout: Duration = .milliseconds(200)
        /// Longest wait for the end of a lease that nobody wants any more: closing the client waits for it.
        package var abandonTimeout: Duration = .seconds(2)

        /// The times as they are.
        package init() {}
    }

    /// How a TLS connection is made. Files are PEM.
    public struct TLS: Sendable {
        /// Certificates of the authorities to trust; nil means the system's.
        public var authoritiesFile: String?
        /// This client's certificate chain, for servers that ask for one.
        public var certificateFile: String?
        /// The key of that certificate.
        public var keyFile: String?
        /// The name the server's certificate must bear, unless it bears the very address that was connected to; nil
        /// means the host of the endpoint.
        public var serverName: String?
        /// False takes any certificate: anyone on the way can then read and change everything.
        public var verifiesServer = true

        /// Trusts `authoritiesFile`, or the system's authorities, and shows no certificate.
        public init(authoritiesFile: String? = nil) { self.authoritiesFile = authoritiesFile }
    }

    /// A user of the store.
    public struct Credentials: Sendable {
        /// The user's name.
        public var user: String
        /// The password. Sent to the servers: use TLS.
        public var password: String

        /// Pairs name and password.
        public init(user: String, password: String) {
            self.user = user
            self.password = password
        }
    }
}
