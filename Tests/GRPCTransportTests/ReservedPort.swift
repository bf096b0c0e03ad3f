import NIOCore
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
        let file = file
        try SocketAddress(ipAddress: "127.0.0.1", port: 0).withSockAddr { address, size in
            try #require(bind(file, address, socklen_t(size)) == 0, "no port to be had")
        }
        var address = [UInt8](repeating: 0, count: 128)
        var size = socklen_t(address.count)
        let code = address.withUnsafeMutableBytes {
            getsockname(file, $0.assumingMemoryBound(to: sockaddr.self).baseAddress, &size)
        }
        number = Int(address[2]) << 8 | Int(address[3])  // behind the family, in network order
        try #require(code == 0 && number > 0, "no port to be had")
    }

    func release() { close(file) }
}
