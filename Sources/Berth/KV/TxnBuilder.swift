/// Puts a transaction together: `Check`s, then `Get`, `Put`, `Delete` and nested `Txn`s, and what to do `Otherwise`.
/// `if`, `for` and the like work as everywhere.
@resultBuilder
public enum TxnBuilder {
    /// A condition.
    public static func buildExpression(_ check: Check) -> Txn {
        var txn = Txn()
        txn.checks = [check]
        return txn
    }

    /// A read.
    public static func buildExpression(_ get: Get) -> Txn { operation(.get(get)) }

    /// A write.
    public static func buildExpression(_ put: Put) -> Txn { operation(.put(put)) }

    /// A delete.
    public static func buildExpression(_ delete: Delete) -> Txn { operation(.delete(delete)) }

    /// A decision within the transaction.
    public static func buildExpression(_ txn: Txn) -> Txn { operation(.txn(txn)) }

    /// What to do when a check fails.
    public static func buildExpression(_ otherwise: Otherwise) -> Txn {
        var txn = Txn()
        txn.otherwise = otherwise.operations
        return txn
    }

    /// One part behind the other.
    public static func buildBlock(_ parts: Txn...) -> Txn { joined(parts) }

    /// Parts made in a loop.
    public static func buildArray(_ parts: [Txn]) -> Txn { joined(parts) }

    /// Parts that may be left out.
    public static func buildOptional(_ part: Txn?) -> Txn { part ?? Txn() }

    /// The first of two choices.
    public static func buildEither(first part: Txn) -> Txn { part }

    /// The second of two choices.
    public static func buildEither(second part: Txn) -> Txn { part }

    private static func operation(_ operation: Txn.Operation) -> Txn {
        var txn = Txn()
        txn.then = [operation]
        return txn
    }

    private static func joined(_ parts: [Txn]) -> Txn {
        parts.reduce(into: Txn()) { txn, part in
            txn.checks += part.checks
            txn.then += part.then
            txn.otherwise += part.otherwise
        }
    }
}

/// What a transaction does when one of its checks fails.
public struct Otherwise: Sendable, Hashable {
    let operations: [Txn.Operation]

    /// The operations, in order; checks stand in a nested `Txn`.
    public init(@TxnBuilder _ parts: () -> Txn) {
        let txn = parts()
        operations = txn.checks.isEmpty && txn.otherwise.isEmpty ? txn.then : [.txn(txn)]
    }
}
