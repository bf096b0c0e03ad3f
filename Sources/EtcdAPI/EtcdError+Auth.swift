// Authentication and authorization.
extension EtcdError {
    private static func invalid(_ text: String) -> EtcdError { EtcdError(code: 3, message: text) }
    private static func failed(_ text: String) -> EtcdError { EtcdError(code: 9, message: text) }

    /// Enabling needs the user `root`.
    public static let rootUserMissing = failed("etcdserver: root user does not exist")
    /// Enabling needs the user `root` to hold the role `root`.
    public static let rootRoleMissing = failed("etcdserver: root user does not have root role")
    /// A user of this name is there already.
    public static let userExists = failed("etcdserver: user name already exists")
    /// No name was given; also what a call hears that names nobody while authentication is on.
    public static let userEmpty = invalid("etcdserver: user name is empty")
    /// No such user.
    public static let userNotFound = failed("etcdserver: user name not found")
    /// A role of this name is there already.
    public static let roleExists = failed("etcdserver: role name already exists")
    /// No such role.
    public static let roleNotFound = failed("etcdserver: role name not found")
    /// No name was given.
    public static let roleEmpty = invalid("etcdserver: role name is empty")
    /// Unknown user or wrong password: which, is not told.
    public static let authenticationFailed = invalid(
        "etcdserver: authentication failed, invalid user ID or password")
    /// A grant without a permission.
    public static let permissionNotGiven = invalid("etcdserver: permission not given")
    /// The user may not do this.
    public static let permissionDenied = EtcdError(code: 7, message: "etcdserver: permission denied")
    /// The user does not hold the role that was to be taken away.
    public static let roleNotGranted = failed("etcdserver: role is not granted to the user")
    /// The role does not hold the permission that was to be taken away.
    public static let permissionNotGranted = failed("etcdserver: permission is not granted to the role")
    /// Tokens are given out while authentication is on only.
    public static let authNotEnabled = failed("etcdserver: authentication is not enabled")
    /// The token is unknown, has run out, or is signed by somebody else.
    public static let invalidAuthToken = EtcdError(code: 16, message: "etcdserver: invalid auth token")
    /// What `root` needs cannot be taken away while authentication is on; also a permission for no key at all.
    public static let invalidAuthManagement = invalid("etcdserver: invalid auth management")
    /// Users, roles or the switch changed since the caller was judged.
    public static let authRevisionOld = invalid("etcdserver: revision of auth store is old")
    /// A password came for a user who has none.
    public static let passwordOfNoPasswordUser = EtcdError(
        code: 2, message: "auth: authentication failed, password was given for no password user")
    /// The server holds the public key only, and so can sign no tokens.
    public static let tokensVerifiedOnly = EtcdError(
        code: 2, message: "auth: token signing attempted with verify-only key")

    /// A request about users or roles that Berth does not take.
    public static func invalidAuthRequest(_ what: String) -> EtcdError { invalid("berth: \(what)") }
    /// More users, roles or permissions than Berth keeps.
    public static func tooManyAuthRecords(_ what: String) -> EtcdError {
        EtcdError(code: 8, message: "berth: \(what)")
    }

    /// The text as etcd 3.5 tells it where it does not translate: Defragment, Hash, HashKV and Snapshot.
    public var asUntranslatedAuth: EtcdError {
        let text: String
        switch self {
        case .userEmpty: text = "auth: user name is empty"
        case .permissionDenied: text = "auth: permission denied"
        case .userNotFound: text = "auth: user not found"
        case .invalidAuthToken: text = "auth: invalid auth token"
        default: return self
        }
        return EtcdError(code: 2, message: text)
    }
}
