import ArgumentParser
import Berth
import CommandText
import Supervision

/// Ends the command with a line on standard error and a status.
struct Failure: Error {
    var line: String
    var status: Int32

    init(_ line: String, status: Int32 = ExitStatus.failed) {
        self.line = line
        self.status = status
    }

    /// The one place where the library's errors become exit statuses.
    init(_ error: any Error) {
        switch error {
        case let failure as Failure: self = failure
        case let error as BerthError: self.init(error.description, status: Self.status(of: error))
        case let error as TransferError: self.init(Self.line(of: error), status: Self.status(of: error))
        case let failure as ChildProcess.StartFailure: self.init(failure.description, status: failure.status)
        case let mistake as TxnScript.Mistake: self.init(mistake.description)
        default: self.init("\(error)")
        }
    }

    private static func status(of error: BerthError) -> Int32 {
        switch error {
        case .unreachable, .timedOut: ExitStatus.unreachable
        case .locked: ExitStatus.locked
        case .lockLost: ExitStatus.lost
        case .notAcquired: ExitStatus.notAcquired
        case .uncertain, .leaseNotFound, .compacted, .futureRevision, .noSpace, .tooLarge, .unsupported,
            .unauthenticated, .permissionDenied, .invalid, .server, .closed, .cancelled:
            ExitStatus.failed
        }
    }

    /// A transfer's error, with the option that helps.
    private static func line(of error: TransferError) -> String {
        switch error.reason {
        case .targetNotEmpty: "\(error) (--overwrite allows it)"
        case _ where error.mayHaveWritten: "\(error); run it again with --overwrite"
        default: "\(error)"
        }
    }

    private static func status(of error: TransferError) -> Int32 {
        if case .failed(_, let error) = error.reason { status(of: error) } else { ExitStatus.failed }
    }

    /// Writes the line, and gives what ends the program.
    func told() -> ExitCode {
        Output.complain(line)
        return ExitCode(status)
    }
}
