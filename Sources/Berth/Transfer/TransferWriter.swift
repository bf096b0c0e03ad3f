import EtcdAPI
import ProtobufWire
import SwiftProtobuf

/// Writes batches of keys to one store.
struct TransferWriter: Sendable {
    let caller: Caller
    let overwrites: Bool

    private typealias Reason = TransferError.Reason

    /// Writes a batch, in one transaction unless the server takes only smaller ones.
    ///
    /// Unless keys may be overwritten, nothing is written over, whoever came meanwhile; so a transaction that may have
    /// been carried out is not sent again.
    func write(
        _ batch: TransferBatch, _ precondition: TransferBatch.Precondition
    ) async throws(TransferError.Reason) {
        let method = overwrites ? Methods.repeatableTxn : Methods.txn
        let answer: [UInt8]
        do throws(BerthError) {
            answer = try await patiently { () async throws(BerthError) in
                try await caller.callEncoded(
                    method, encoded: batch.txn(overwrites ? .none : precondition), options: TransferReader.options)
            }
        } catch {
            guard Self.isTooMuch(error) else { throw .failed(.target, error) }
            guard let (first, second) = batch.halves else { return try await put(batch) }
            try await write(first, precondition)
            return try await write(second, precondition)
        }
        guard !Self.succeeded(answer) else { return }
        // Nothing was written either way; the answer only says which key it was.
        let outcome = (try? Etcdserverpb_TxnResponse(serializedBytes: answer)).map { TxnOutcome($0) }
        throw .keyAppeared(outcome?.values.compactMap { $0 }.first?.key ?? batch.key(0))
    }

    /// A key that a transaction has no room for. What comes between the look and the put is overwritten.
    private func put(_ batch: TransferBatch) async throws(TransferError.Reason) {
        let key = batch.key(0)
        do throws(BerthError) {
            if !overwrites, try await KV(caller: caller).count(.key(key)) > 0 { throw BerthError.invalid("") }
        } catch .invalid {
            throw .keyAppeared(key)
        } catch {
            throw .failed(.target, error)
        }
        do throws(BerthError) {
            var options = TransferReader.options
            options.isRepeatable = overwrites
            let bytes = batch.put
            _ = try await patiently { () async throws(BerthError) in
                try await caller.callEncoded(Methods.put, encoded: bytes, options: options)
            }
        } catch .tooLarge {
            throw .tooLarge(key, sizeInBytes: batch.byteCount)
        } catch {
            throw .failed(.target, error)
        }
    }

    /// A server that has too much to do says so before it does anything; it is asked again, for up to half a minute.
    private func patiently(_ call: () async throws(BerthError) -> [UInt8]) async throws(BerthError) -> [UInt8] {
        var tries = 300
        while true {
            do throws(BerthError) {
                return try await call()
            } catch {
                guard case .server(_, let message) = error, message.contains("too many requests"), tries > 0 else {
                    throw error
                }
                tries -= 1
                try await caller.rest(.milliseconds(100))
            }
        }
    }

    /// Fewer keys at once may pass.
    private static func isTooMuch(_ error: BerthError) -> Bool {
        switch error {
        case .tooLarge: true
        case .invalid(let message): message.contains("too many operations")
        default: false
        }
    }

    /// Field 2 of a `TxnResponse`; its 128 answers are of no interest.
    private static func succeeded(_ answer: [UInt8]) -> Bool {
        answer.withUnsafeBytes { bytes in
            var reader = WireReader(bytes)
            do {
                while let field = try reader.nextField() {
                    if field.field == 2 { return try reader.bool(of: field) }
                    try reader.skip(field)
                }
            } catch {
                return false
            }
            return false
        }
    }
}
