import Berth
import CommandText
import Testing

@Suite struct TxnScriptTests {
    @Test func `Berth's own form is read, comments and indentation aside`() throws {
        let txn = try TxnScript.parse(
            """
            # only while the lock holds
            create order:123/1f = 42
            value stock > "10"
            exists stock
            then
              put order:123 'paid at noon' --lease=1f --prev-kv
              get stock --prefix --limit 5

            else
              del order: --prefix
            """)
        var get = Get(.prefix("stock"))
        get.limit = 5
        var expected = Txn()
        expected.checks = [
            .createRevision(of: "order:123/1f", .equal, 42), .value(of: "stock", .greater, "10"), .exists("stock"),
        ]
        expected.then = [
            .put(Put("order:123", "paid at noon", lease: LeaseID(0x1f), previous: true)), .get(get),
        ]
        expected.otherwise = [.delete(Delete(.prefix("order:")))]
        #expect(txn == expected)
    }

    @Test func `etcdctl's form is read`() throws {
        let txn = try TxnScript.parse(
            """
            create("order:123/1f") = "42"
            mod("a") > "0"
            ver("b") != "3"

            put order:123 paid
            get a b

            get order:123

            """)
        var expected = Txn()
        expected.checks = [
            .createRevision(of: "order:123/1f", .equal, 42), .modRevision(of: "a", .greater, 0),
            .version(of: "b", .notEqual, 3),
        ]
        expected.then = [.put(Put("order:123", "paid")), .get(Get(.range("a"..<"b")))]
        expected.otherwise = [.get(Get("order:123"))]
        #expect(txn == expected)
    }

    @Test func `a script of etcdctl's without comparisons begins with an empty line`() throws {
        let txn = try TxnScript.parse("\nput a b\n\n")
        #expect(txn.checks.isEmpty && txn.otherwise.isEmpty)
        #expect(txn.then == [.put(Put("a", "b"))])
    }

    @Test func `quotes and escapes stand for bytes`() throws {
        let txn = try TxnScript.parse(#"then\#nput "a\xffb\n" ''"#)
        #expect(txn.then == [.put(Put(Bytes([0x61, 0xff, 0x62, 0x0a]), []))])
    }

    @Test(arguments: [
        ("colour k = 1\nthen", 1), ("value k 1\nthen", 1), ("create k = x\nthen", 1), ("then\nput a", 2),
        ("then\nput a b c", 2), ("then\nget a --prev-kv", 2), ("then\nget a --limit x", 2), ("then\nmove a b", 2),
        ("then\nthen", 2), ("else\nelse", 2), ("then\nput \"a b", 2), ("then\nput \"\\q\" b", 2),
        ("value(k = 1\nthen", 1), ("value(\"k\") = 1 2\nthen", 1), ("lease k > 1\nthen", 1), ("put a b\n\n", 1),
    ])
    func `a mistake names its line`(script: String, line: Int) {
        let mistake = #expect(throws: TxnScript.Mistake.self) { try TxnScript.parse(script) }
        #expect(mistake?.line == line)
    }
}
