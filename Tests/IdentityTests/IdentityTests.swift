import Identity
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

@Suite struct PasswordHashTests {
    @Test func `a password matches its own hash alone, in the form Go writes`() throws {
        let hash = try #require(PasswordHash.make(bytes("secret"), cost: 4))
        #expect(hash.count == 60)
        #expect(hash.starts(with: bytes("$2a$04$")))
        #expect(PasswordHash.matches(bytes("secret"), hash))
        #expect(!PasswordHash.matches(bytes("Secret"), hash))
        #expect(!PasswordHash.matches(bytes("secret\0"), hash))
        #expect(!PasswordHash.matches(bytes("secret\0x"), hash))
        #expect(!PasswordHash.matches([], hash))
        #expect(PasswordHash.make(bytes("secret"), cost: 4) != hash)
    }

    @Test func `the empty password and one of 72 bytes are passwords, longer ones are not`() throws {
        let empty = try #require(PasswordHash.make([], cost: 4))
        #expect(PasswordHash.matches([], empty))
        let long = [UInt8](repeating: 0xff, count: 72)
        let hash = try #require(PasswordHash.make(long, cost: 4))
        #expect(PasswordHash.matches(long, hash))
        #expect(!PasswordHash.matches(long + [1], hash))
        #expect(PasswordHash.make(long + [1], cost: 4) == nil)
        #expect(PasswordHash.problem(with: long + [1])?.contains("73 bytes") == true)
        #expect(PasswordHash.problem(with: [1, 0])?.contains("zero byte") == true)
        #expect(PasswordHash.problem(with: long) == nil)
    }

    /// Made by Go's golang.org/x/crypto/bcrypt and by OpenBSD's implementation (its published test vectors).
    @Test(arguments: [
        ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
        ("U*U*", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK"),
        ("", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.7uG0VCzI2bS7j6ymqJi9CdcdxiRTWNy"),
    ])
    func `hashes of other implementations are understood`(password: String, hash: String) {
        #expect(PasswordHash.matches(bytes(password), bytes(hash)))
        #expect(!PasswordHash.matches(bytes(password + "x"), bytes(hash)))
    }

    @Test func `the hash of nobody matches nothing, after the same work`() throws {
        /// CPU time of this thread, the least of some: what else the machine does only adds.
        func work(_ hash: [UInt8]) -> Double {
            (0..<5).map { _ in
                let start = cpuSeconds()
                #expect(!PasswordHash.matches(bytes("wrong"), hash))
                return cpuSeconds() - start
            }.min() ?? 0
        }
        func cpuSeconds() -> Double {
            var time = timespec()
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
            return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
        }
        let real = work(try #require(PasswordHash.make(bytes("secret"), cost: 8)))
        let nobody = work(PasswordHash.ofNobody(cost: 8))
        // Without the work it would be a thousandth.
        #expect(nobody > real / 4 && real > nobody / 4, "real \(real) s, nobody \(nobody) s")
    }

    @Test func `what is no hash matches nothing`() {
        for text in ["", "secret", "$6$abc$def", "$2a$04$short", String(repeating: "$2a$", count: 15)] {
            #expect(!PasswordHash.matches([], bytes(text)))
            #expect(!PasswordHash.matches(bytes(text), bytes(text)))
        }
    }
}
