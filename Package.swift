// swift-tools-version: 6.2
import PackageDescription

/// One set of settings for every target: Swift 6 mode, explicit imports, no silent warnings.
let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .treatAllWarnings(as: .error),
]

func library(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

/// Release builds of the server leave out the checks for overlapping accesses, a sixth of a put's instructions
/// (docs/decisions/0010). Builds for debugging make them, and so does `tools/fuzz`.
let unchecked: [SwiftSetting] =
    Context.environment["FUZZ_LIBRARY"] == nil
    ? [.unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))] : []

/// A part of the server alone. Not for what the client library is made of: packages that depend on a package may not bring
/// flags like `unchecked` along.
func serverLibrary(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings + unchecked)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: dependencies, swiftSettings: settings)
}

let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioEmbedded = Target.Dependency.product(name: "NIOEmbedded", package: "swift-nio")
let nioSSL = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl")
let nioTLS = Target.Dependency.product(name: "NIOTLS", package: "swift-nio")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let protobuf = Target.Dependency.product(name: "SwiftProtobuf", package: "swift-protobuf")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let lifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let deque = Target.Dependency.product(name: "DequeModule", package: "swift-collections")
let heap = Target.Dependency.product(name: "HeapModule", package: "swift-collections")
let jwtKit = Target.Dependency.product(name: "JWTKit", package: "jwt-kit")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let asn1 = Target.Dependency.product(name: "SwiftASN1", package: "swift-asn1")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")
let webSocket = Target.Dependency.product(name: "NIOWebSocket", package: "swift-nio")
let arguments = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")

/// The fuzz targets, when `tools/fuzz` builds: it names the library they are linked with in FUZZ_LIBRARY.
let fuzzTargets: [Target] =
    if let library = Context.environment["FUZZ_LIBRARY"] {
        [
            .systemLibrary(name: "CLibFuzzer", path: "Fuzz/CLibFuzzer"),
            .executableTarget(
                name: "berth-fuzz",
                dependencies: [
                    "CLibFuzzer", "Vocabulary", "ProtobufWire", "GRPCTransport", "EtcdAPI", "StateMachine", "Gateway",
                    nioCore,
                    nioEmbedded, protobuf,
                ],
                path: "Fuzz/Targets", swiftSettings: settings,
                linkerSettings: [.unsafeFlags([library, "-lstdc++"])]),
        ]
    } else {
        []
    }

// Targets stand bottom up: a module imports only what stands above it in this list.
let package = Package(
    name: "berth",
    products: [
        .executable(name: "berth", targets: ["BerthCommand"]),
        .library(name: "Berth", targets: ["Berth"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-asn1", from: "1.7.4"),
        .package(url: "https://github.com/vapor/jwt-kit", from: "5.7.1"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        .systemLibrary(name: "CLMDB", pkgConfig: "lmdb", providers: [.apt(["liblmdb-dev"])]),
        .systemLibrary(name: "CRaft", providers: [.apt(["libraft-dev", "libuv1-dev"])]),
        .systemLibrary(name: "CNghttp2", pkgConfig: "libnghttp2", providers: [.apt(["libnghttp2-dev"])]),
        .systemLibrary(name: "CCrypt", pkgConfig: "libcrypt", providers: [.apt(["libcrypt-dev"])]),
        library("Vocabulary", []),
        library("TestSupport", []),
        library("Measures", []),
        library("ProtobufWire", []),
        library("GRPCTransport", ["CNghttp2", "Measures", nioCore, nioPosix, nioHTTP1, webSocket, logging, deque]),
        library("EtcdAPI", ["Vocabulary", "ProtobufWire", protobuf]),
        serverLibrary("Store", ["CLMDB", "Measures", "Vocabulary", "ProtobufWire"]),
        .target(
            name: "CRaftHost",
            linkerSettings: [
                // libraft becomes part of the program: only there can its checksum be another (docs/decisions/0011). It needs
                // lz4, whose library `libraft2` brings, but not the name without a number that `liblz4-dev` would.
                .unsafeFlags(["-l:libraft.a", "-l:liblz4.so.1", "-Xlinker", "--wrap=byteCrc32"]),
                .unsafeFlags(
                    ["posix_fallocate", "scandir64", "syscall"].flatMap {
                        ["-Xlinker", "--export-dynamic-symbol=\($0)"]
                    }),
            ]),
        serverLibrary("ReplicatedLog", ["CRaft", "CRaftHost", "Measures", "Vocabulary", deque]),
        serverLibrary("StateMachine", ["Measures", "Vocabulary", "ProtobufWire", "EtcdAPI", "Store", deque]),
        library("BoltFile", []),
        library("Identity", ["CCrypt", "Vocabulary", crypto, jwtKit, logging]),
        library("Gateway", ["ProtobufWire", "EtcdAPI", "GRPCTransport", protobuf, nioCore]),
        library("Configuration", [yams]),
        serverLibrary(
            "Server",
            [
                "Measures", "Vocabulary", "ProtobufWire", "GRPCTransport", "EtcdAPI", "Store", "ReplicatedLog",
                "StateMachine", "BoltFile", "Identity", "Gateway", crypto, protobuf, nioSSL, nioTLS, asn1, nioCore,
                nioPosix, logging,
                lifecycle, deque, heap,
            ]),
        library(
            "Berth", ["ProtobufWire", "GRPCTransport", "EtcdAPI", nioCore, nioPosix, nioSSL, nioTLS, protobuf, deque]),
        library("Supervision", []),
        library("CommandText", ["Berth"]),
        .target(name: "CRuntime"),
        .executableTarget(
            name: "BerthCommand",
            dependencies: [
                "CRuntime", "Server", "Berth", "Supervision", "CommandText", "Configuration", "BoltFile", arguments,
                logging,
                lifecycle,
            ],
            swiftSettings: settings,
            linkerSettings: [
                // The runtime within the program: its calls need no table, and it runs where no Swift is. What Foundation
                // is made of must be named when modules were compiled for the other way.
                .unsafeFlags(
                    [
                        "-static-stdlib", "-lCoreFoundation", "-l_FoundationICU", "-lBlocksRuntime",
                        "-l_FoundationCShims",
                        "-l_FoundationCollections", "-lstdc++",
                    ], .when(configuration: .release))
            ]),
        // A server that is wrong on purpose, for tools/rig-powercut. No product ships it.
        .executableTarget(
            name: "berth-faulty", dependencies: ["Server", "Store", logging, lifecycle], path: "Sources/FaultyBerth",
            swiftSettings: settings),
        tests("MeasuresTests", ["Measures"]),
        tests("ProtobufWireTests", ["ProtobufWire", "TestSupport"]),
        tests(
            "GRPCTransportTests",
            [
                "CNghttp2", "GRPCTransport", "Measures", "TestSupport", nioCore, nioPosix, nioEmbedded, logging,
            ]),
        tests("EtcdAPITests", ["EtcdAPI", "ProtobufWire", "Vocabulary", "TestSupport", protobuf]),
        tests("BoltFileTests", ["BoltFile", "TestSupport"]),
        tests("IdentityTests", ["Identity", "TestSupport"]),
        tests("GatewayTests", ["Gateway", "EtcdAPI", "GRPCTransport", "TestSupport", protobuf]),
        tests("ConfigurationTests", ["Configuration", "TestSupport"]),
        tests("StoreTests", ["Store", "Vocabulary", "TestSupport"]),
        tests("ReplicatedLogTests", ["CRaft", "CRaftHost", "ReplicatedLog", "Vocabulary", "TestSupport"]),
        tests(
            "StateMachineTests",
            ["StateMachine", "Store", "EtcdAPI", "Measures", "ProtobufWire", "Vocabulary", "TestSupport", protobuf]),
        tests(
            "ServerTests",
            [
                "Server", "BoltFile", "Store", "EtcdAPI", "GRPCTransport", "Measures", "Vocabulary", "TestSupport",
                protobuf,
                nioSSL, nioCore, nioPosix, logging, lifecycle,
            ]),
        tests(
            "BerthTests",
            [
                "Berth", "Server", "EtcdAPI", "GRPCTransport", "TestSupport", nioCore, nioPosix, protobuf, logging,
                lifecycle,
            ]),
        tests("SupervisionTests", ["Supervision", "TestSupport"]),
        tests("CommandTextTests", ["CommandText", "Berth"]),
        // They run the program, which `swift build --product berth` makes: with the runtime within it, it cannot be linked
        // with the tests too.
        tests("BerthCommandTests", ["Supervision"]),
    ] + fuzzTargets
)
