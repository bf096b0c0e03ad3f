#if canImport(Glibc)
    import Glibc
#endif

extension BerthConfiguration {
    /// This host and process, as `host/pid`.
    public static var defaultOwner: String {
        var name = [CChar](repeating: 0, count: 256)
        let known = gethostname(&name, name.count - 1) == 0
        let host =
            known ? String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self) : "host"
        return "\(host)/\(getpid())"
    }
}
