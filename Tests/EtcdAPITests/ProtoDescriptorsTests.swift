import EtcdAPI
import FoundationEssentials
import SwiftProtobuf
import Testing

/// The descriptions that reflection gives out are whole, and those of the files in `protos/`.
@Suite struct ProtoDescriptorsTests {
    private let protos = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "protos")

    @Test func `every service of every file is described, with all that its file imports`() throws {
        let descriptors = ProtoDescriptors.all
        #expect(descriptors.services.contains("etcdserverpb.Auth"))
        #expect(descriptors.services.contains("berth.v1.Locks"))
        #expect(descriptors.services.contains("grpc.reflection.v1alpha.ServerReflection"))
        for service in descriptors.services {
            let file = try #require(descriptors.file(declaring: service))
            #expect(file.services.contains(service))
            for dependency in file.dependencies { #expect(descriptors.file(named: dependency) != nil) }
            let decoded = try Google_Protobuf_FileDescriptorProto(serializedBytes: file.encoded)
            #expect(decoded.name == file.name && decoded.syntax == "proto3")
        }
    }

    @Test func `services and methods in the files are those described`() throws {
        let names = [
            "etcd/api/etcdserverpb/rpc.proto", "v3lock.proto", "v3election.proto", "berth/v1/locks.proto",
            "berth/v1/maintenance.proto", "grpc/health/v1/health.proto", "grpc/reflection/v1/reflection.proto",
        ]
        for name in names {
            let text = try String(contentsOf: protos.appending(path: name), encoding: .utf8)
            let file = try #require(ProtoDescriptors.all.file(named: name), "tools/generate was not run")
            let decoded = try Google_Protobuf_FileDescriptorProto(serializedBytes: file.encoded)
            let lines = text.split(separator: "\n").map { $0.drop { $0 == " " } }
            let described = decoded.service.flatMap { $0.method.map(\.name) }
            let written = lines.filter { $0.hasPrefix("rpc ") }.map { String($0.dropFirst(4).prefix { $0 != "(" }) }
            #expect(described == written, "run tools/generate after changing \(name)")
            let messages = lines.filter { $0.hasPrefix("message ") }.count
            #expect(Self.count(decoded.messageType) == messages, "run tools/generate after changing \(name)")
        }
    }

    private static func count(_ messages: [Google_Protobuf_DescriptorProto]) -> Int {
        messages.filter { !$0.options.mapEntry }.reduce(0) { $0 + 1 + count($1.nestedType) }
    }
}
