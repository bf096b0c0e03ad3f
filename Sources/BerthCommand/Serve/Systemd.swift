#if canImport(Glibc)
    import Glibc
#endif

/// Tells systemd how a service of `Type=notify` is doing: a datagram to the socket that it names, see sd_notify(3).
enum Systemd {
    /// Does nothing where no systemd waits. A failure is not told: nobody could act on it, and systemd reports the missing word.
    static func tell(_ state: String) {
        guard let name = getenv("NOTIFY_SOCKET").map({ Array(String(cString: $0).utf8) }) else { return }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let room = MemoryLayout.size(ofValue: address.sun_path)
        guard !name.isEmpty, name.count < room else { return }
        withUnsafeMutableBytes(of: &address.sun_path) { path in
            path.copyBytes(from: name)
            // A leading @ stands for the zero of an abstract name.
            if name[0] == UInt8(ascii: "@") { path[0] = 0 }
        }
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + name.count)
        var text = state
        withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                text.withUTF8 { bytes in
                    _ = sendto(descriptor, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL), address, length)
                }
            }
        }
    }
}
