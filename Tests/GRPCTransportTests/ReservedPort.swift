import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// A port that is the test's own also while nobody listens on it: a socket bound to it keeps the system from giving it
/// to other tests, and does not stand in the way of servers, which may reuse addresses.
struct ReservedPort {
    let number: Int
    private let file: Int32

    init() throws {
        file = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var isOn: Int32 = 1
        setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &isOn, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = INADDR_LOOPBACK.bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let file = file
        let code = withUnsafeMutablePointer(to: &address) { address in
            address.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                bind(file, address, size) == 0 ? getsockname(file, address, &size) : -1
            }
        }
        number = Int(in_port_t(bigEndian: address.sin_port))
        try #require(code == 0 && number > 0, "no port to be had")
    }

    func release() { close(file) }
}
