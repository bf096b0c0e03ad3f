import CLibFuzzer
import Gateway

#if canImport(Glibc)
    import Glibc
#endif

// One program for all targets: FUZZ_TARGET chooses, as libFuzzer keeps the arguments for itself and starts copies of
// the program with them. tools/fuzz builds and calls it.

let targets: [String: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt] = [
    "http2": { run(TransportTarget.http2, $0, $1) },
    "http1": { run(TransportTarget.http1, $0, $1) },
    "protobuf": { run(ProtobufTarget.feed, $0, $1) },
    "json": { run(JSONTarget.feed, $0, $1) },
]

/// An input may take a second of the processor's time. libFuzzer's own limit is one of the clock on the wall, which on a
/// busy machine says nothing; it is for what never ends.
func run(_ target: (UnsafeRawBufferPointer) -> Void, _ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let started = clock()
    target(UnsafeRawBufferPointer(start: data, count: count))
    precondition(clock() - started < CLOCKS_PER_SEC, "the input took longer than a second")
    return 0
}

let name = getenv("FUZZ_TARGET").map { String(cString: $0) } ?? ""
guard let target = targets[name] else {
    print("berth-fuzz: FUZZ_TARGET is \"\(name)\"; expected one of \(targets.keys.sorted().joined(separator: ", "))")
    exit(2)
}
// Made once and kept in enumerations, where the leak checker does not see the references.
__lsan_disable()
_ = Schema.current
__lsan_enable()
var argumentCount = CommandLine.argc
var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv
exit(LLVMFuzzerRunDriver(&argumentCount, &arguments, target))
