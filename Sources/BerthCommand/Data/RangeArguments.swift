import ArgumentParser
import Berth

/// Which keys a command is about.
struct RangeArguments: ParsableArguments {
    @Argument(help: "The key, or the beginning of a range.") var key: String

    @Flag(help: "All keys that begin so.") var prefix = false
    @Option(help: ArgumentHelp("Keys up to this one, without it.", valueName: "key")) var rangeEnd: String?
    @Flag(help: "This key and all behind it.") var fromKey = false

    func validate() throws {
        if [prefix, fromKey, rangeEnd != nil].count(where: { $0 }) > 1 {
            throw ValidationError("--prefix, --range-end and --from-key exclude each other")
        }
    }

    var range: KeyRange {
        if prefix { return .prefix(Bytes(key)) }
        if fromKey { return .from(Bytes(key)) }
        if let rangeEnd { return KeyRange(key: Bytes(key), end: Bytes(rangeEnd)) }
        return .key(Bytes(key))
    }
}
