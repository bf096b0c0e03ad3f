/// A member's address for its peers, as far as etcd looks at it when one is given.
enum PeerURL {
    /// Whether etcd would take it: `http` or `https` with `host:port` and nothing behind, or a Unix socket's.
    static func isValid(_ text: String) -> Bool {
        let url = trimmed(text)
        guard !url.utf8.contains(where: { $0 <= 0x20 || $0 == 0x7f }),
            let separator = url.firstRange(of: "://")
        else { return false }
        switch url[..<separator.lowerBound].lowercased() {
        case "unix", "unixs": return true
        case "http", "https":
            let rest = url[separator.upperBound...]
            let authority = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
            guard rest.dropFirst(authority.count).first != "/" else { return false }
            return isHostAndPort(authority.split(separator: "@", omittingEmptySubsequences: false).last ?? "")
        default: return false
        }
    }

    private static func trimmed(_ text: String) -> Substring {
        let tail = text.drop { $0.isWhitespace }
        guard let last = tail.lastIndex(where: { !$0.isWhitespace }) else { return "" }
        return tail[...last]
    }

    private static func isHostAndPort(_ text: Substring) -> Bool {
        guard let colon = text.lastIndex(of: ":") else { return false }
        let host = text[..<colon]
        guard text[text.index(after: colon)...].utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return false }
        if host.first == "[" {
            return host.last == "]" && host.dropFirst().dropLast().allSatisfy { $0 != "[" && $0 != "]" }
        }
        return host.allSatisfy { $0 != ":" && $0 != "[" && $0 != "]" && $0 != "%" }
    }
}
