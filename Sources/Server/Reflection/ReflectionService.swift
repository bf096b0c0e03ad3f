import EtcdAPI
import GRPCTransport
import SwiftProtobuf

/// `grpc.reflection.v1.ServerReflection` and its older name `v1alpha`: tools like `grpcurl` ask here what there is to
/// call. The descriptions are those of `protos/`, which are public, so nobody needs to log in for them.
struct ReflectionService: Sendable {
    /// Both are one service: their messages are the same on the wire.
    static let names = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]

    /// Full names of the services that this server has, without reflection's own.
    let served: Set<String>

    func register(in table: inout ServiceTable) {
        let services = served.union(Self.names).sorted()
        for name in Self.names {
            table.streaming("/\(name)/ServerReflectionInfo", type: .bidirectional) {
                ReflectionStream(call: $0, services: services).start()
            }
        }
    }
}

/// One stream of questions, each answered in order.
///
/// Isolation: the event loop of its call.
private final class ReflectionStream: OpenStream {
    private let services: [String]
    /// Files sent already: as imports they are not sent again. At most as many as there are files.
    private var sent: Set<String> = []

    init(call: ServerCall, services: [String]) {
        self.services = services
        super.init(call: call)
    }

    override func requestsEnded() { end(.ok) }

    override func roomIsFree() { call.isReadingPaused = false }

    override func receive(_ message: [UInt8]) {
        let request: Grpc_Reflection_V1_ServerReflectionRequest
        do {
            request = try Grpc_Reflection_V1_ServerReflectionRequest(serializedBytes: message)
        } catch {
            return end(GRPCStatus(EtcdError.malformed(error)))
        }
        guard let question = request.messageRequest else {
            return end(
                GRPCStatus(.invalidArgument, "a reflection request names nothing; set one arm of message_request"))
        }
        var response = Grpc_Reflection_V1_ServerReflectionResponse()
        response.validHost = request.host
        response.originalRequest = request
        response.messageResponse = answer(question)
        call.send(response)
        // A client that does not read its answers gets no further requests taken.
        if !call.hasRoom { call.isReadingPaused = true }
    }

    private func answer(
        _ question: Grpc_Reflection_V1_ServerReflectionRequest.OneOf_MessageRequest
    ) -> Grpc_Reflection_V1_ServerReflectionResponse.OneOf_MessageResponse {
        let descriptors = ProtoDescriptors.all
        switch question {
        case .listServices:
            return .listServicesResponse(.with { $0.service = services.map { name in .with { $0.name = name } } })
        case .fileByFilename(let name):
            return files(descriptors.file(named: name), orNone: "no file \(Self.quoted(name))")
        case .fileContainingSymbol(let symbol):
            return files(descriptors.file(declaring: symbol), orNone: "no symbol \(Self.quoted(symbol))")
        case .fileContainingExtension(let wanted):
            return files(
                nil, orNone: "no extension \(wanted.extensionNumber) of \(Self.quoted(wanted.containingType))")
        case .allExtensionNumbersOfType(let name):
            guard descriptors.hasMessage(name) else { return notFound("no message \(Self.quoted(name))") }
            return .allExtensionNumbersResponse(.with { $0.baseTypeName = name })
        }
    }

    /// The file, then what it imports, directly or not, as far as this stream has not had it.
    private func files(
        _ file: ProtoDescriptors.File?, orNone text: String
    ) -> Grpc_Reflection_V1_ServerReflectionResponse.OneOf_MessageResponse {
        guard let file else { return notFound(text) }
        var response = Grpc_Reflection_V1_FileDescriptorResponse()
        response.fileDescriptorProto = [file.encoded]
        sent.insert(file.name)
        var next = file.dependencies
        while let name = next.popLast() {
            guard sent.insert(name).inserted, let imported = ProtoDescriptors.all.file(named: name) else { continue }
            response.fileDescriptorProto.append(imported.encoded)
            next += imported.dependencies
        }
        return .fileDescriptorResponse(response)
    }

    private func notFound(_ text: String) -> Grpc_Reflection_V1_ServerReflectionResponse.OneOf_MessageResponse {
        .errorResponse(
            .with {
                $0.errorCode = Int32(GRPCCode.notFound.rawValue)
                $0.errorMessage = text
            })
    }

    /// Of a name that nobody knows, no more than an error can usefully show.
    private static func quoted(_ name: String) -> String { "'\(name.prefix(256))'" }
}
