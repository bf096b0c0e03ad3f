import Berth

#if canImport(Glibc)
    import Glibc
#endif

/// Where one side's servers are and how to speak with them, as options and environment say it.
struct ConnectionSources {
    /// Separated by commas.
    var endpoints: String
    /// PEM file of the authorities to trust.
    var authorities: String?
    /// PEM files of the certificate to show, and its key.
    var certificate: String?
    var key: String?
    /// Takes any certificate of a server.
    var skipsVerification = false
    /// `name:password`, or the name alone.
    var user: String?
    var password: String?
    /// What the names of these options begin with, `--` or `--from-`.
    var options = "--"

    /// An option, else the first of some variables of the environment that is set.
    static func value(_ option: String?, _ variables: String...) -> String? {
        if let option { return option }
        for variable in variables {
            if let value = getenv(variable).map({ String(cString: $0) }), !value.isEmpty { return value }
        }
        return nil
    }

    /// A flag, else a variable of the environment that says yes or no.
    static func isSet(_ flag: Bool, _ variable: String) throws(Failure) -> Bool {
        if flag { return true }
        switch value(nil, variable)?.lowercased() {
        case nil, "false", "0", "no": return false
        case "true", "1", "yes": return true
        case let text?: throw Failure("\(variable) is '\(text)'; expected true or false")
        }
    }

    /// What to connect with. Asks for the password at the terminal when there is a user and no password.
    func configuration(timeout: Duration) throws(Failure) -> BerthConfiguration {
        var configuration = BerthConfiguration(
            endpoints: endpoints.split(separator: ",").map { part in
                String(part.filter { !$0.isWhitespace })
            })
        configuration.requestTimeout = timeout
        configuration.connectTimeout = min(configuration.connectTimeout, timeout)
        configuration.tls = try tls()
        configuration.credentials = try credentials()
        return configuration
    }

    private func tls() throws(Failure) -> BerthConfiguration.TLS? {
        guard (certificate == nil) == (key == nil) else {
            throw Failure("\(options)cert and \(options)key belong together; one of them is missing")
        }
        guard authorities != nil || certificate != nil || skipsVerification else { return nil }
        var tls = BerthConfiguration.TLS(authoritiesFile: authorities)
        tls.certificateFile = certificate
        tls.keyFile = key
        tls.verifiesServer = !skipsVerification
        return tls
    }

    private func credentials() throws(Failure) -> BerthConfiguration.Credentials? {
        guard let user else {
            if password != nil { throw Failure("\(options)password is given without \(options)user; name the user") }
            return nil
        }
        if let password {
            guard !user.contains(":") else {
                throw Failure("\(options)user holds a password, and \(options)password is another; give one of them")
            }
            return .init(user: user, password: password)
        }
        guard let colon = user.firstIndex(of: ":") else {
            return .init(user: user, password: try PasswordPrompt.ask("Password of \(user): "))
        }
        return .init(user: String(user[..<colon]), password: String(user[user.index(after: colon)...]))
    }
}
