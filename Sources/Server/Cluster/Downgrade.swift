import EtcdAPI

/// `Maintenance.Downgrade`: Berth checks a target as etcd does, and never has a downgrade under way. Its stores are its
/// own, so there is no older server that could take one over.
enum Downgrade {
    /// The cluster version that members of this version settle on: what it is judged by.
    static let clusterVersion = "3.5.0"
    private static let target = Version(major: 3, minor: 4)

    private struct Version: Equatable {
        var major: UInt
        var minor: UInt
    }

    /// The answer's `version`.
    static func answer(
        _ action: Etcdserverpb_DowngradeRequest.DowngradeAction, target: String
    ) throws(EtcdError) -> String {
        switch action {
        case .validate:
            try check(target)
            return clusterVersion
        case .enable:
            try check(target)
            throw .singleMember(
                """
                no older server reads this store, so a downgrade cannot begin; to move to etcd, copy the data with \
                'berth export --to-etcd ENDPOINT'
                """)
        case .cancel: throw .noDowngrade
        case .UNRECOGNIZED: throw .unknownMethod
        }
    }

    private static func check(_ text: String) throws(EtcdError) {
        guard let version = parse(text) else { throw .downgradeVersionFormat }
        guard version == target else { throw .downgradeVersionInvalid }
    }

    /// Reads `x.y`, or `x.y.z` with what semantic versions may have behind it.
    private static func parse(_ text: String) -> Version? {
        let release = text.prefix { $0 != "+" && $0 != "-" }
        let parts = release.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3 || parts.count == 2 && release.count == text.count,
            parts.allSatisfy({ !$0.isEmpty && $0.utf8.allSatisfy { (0x30...0x39).contains($0) } }),
            let major = UInt(parts[0]), let minor = UInt(parts[1])
        else { return nil }
        return Version(major: major, minor: minor)
    }
}
