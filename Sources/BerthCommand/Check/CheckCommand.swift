import ArgumentParser
import CommandText
import Server

/// `berth check`: looks over a data folder that no server runs on.
struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Verify a data folder while no server runs on it.",
        discussion: """
            Reads everything and changes nothing: every page of the store with its checksum, the index against the history, \
            keys that hang on leases against the leases' records, the log entry by entry, and whether log and store \
            belong together. Ends with status 1 when anything is not as it should be.
            """)

    @Argument(help: "The data folder.", completion: .directory)
    var directory: String

    @Option(name: [.customShort("w"), .customLong("write-out")], help: "How to write the answer.")
    var writeOut = SnapshotWriteOut.simple

    func run() throws {
        var bar = ProgressLine(isShown: writeOut != .json)
        let check: FolderCheck
        do throws(ServerStartError) {
            check = try FolderCheck(directory: directory) { stage, done, total in
                bar.show("checking \(stage)", UInt64(done), of: UInt64(total))
            }
        } catch {
            bar.clear()
            throw Failure(error.description).told()
        }
        bar.clear()
        switch writeOut {
        case .simple:
            for row in check.numbers { Output.line("\(row.name): \(row.text)") }
        case .table:
            for line in TableText.lines([check.numbers.map(\.name), check.numbers.map(\.text)]) { Output.line(line) }
        case .json: Output.line(check.json)
        }
        if writeOut != .json {
            for finding in check.findings { Output.line("\(finding.place): \(finding.detail)") }
            if check.omittedFindings > 0 { Output.line("and \(check.omittedFindings) more") }
        }
        guard check.findings.isEmpty else {
            let count = check.findings.count + check.omittedFindings
            throw Failure(
                "\(directory): \(count) finding\(count == 1 ? "" : "s"); do not start a server on it, restore it from a snapshot",
                status: 1
            ).told()
        }
        if writeOut != .json { Output.line("everything is as it should be") }
    }
}

extension FolderCheck {
    /// What was read, for people.
    fileprivate var numbers: [(name: String, text: String)] {
        var rows = [
            ("cluster", base.clusterID.map { String($0, radix: 16) } ?? "not known"),
            ("revision", "\(base.revision)"), ("compacted revision", "\(base.compactedRevision)"),
            ("keys", "\(base.keys)"), ("changes", "\(base.changes)"), ("leases", "\(base.leases)"),
            ("keys on leases", "\(base.attachments)"),
            ("pages in use", "\(base.usedPages) (\(base.verifiedPages) held against their checksum)"),
            ("applied log entry", "\(base.appliedIndex)"),
        ]
        if let log {
            rows.append(("log", log.entries == 0 ? "empty" : "\(log.firstIndex) to \(log.lastIndex)"))
            rows.append(("log's checkpoint", "\(log.checkpointIndex)"))
            if log.tornBytes > 0 { rows.append(("write that did not complete", SizeText.short(log.tornBytes))) }
        } else {
            rows.append(("log", "none"))
        }
        return rows.map { (name: $0.0, text: $0.1) }
    }

    fileprivate var json: JSON {
        var fields: [JSON.Field] = [
            .init("cluster", base.clusterID.map { String($0, radix: 16) } ?? ""),
            .init("revision", base.revision), .init("compacted_revision", base.compactedRevision),
            .init("keys", base.keys), .init("changes", base.changes),
            .init("leases", base.leases), .init("keys_on_leases", base.attachments),
            .init("used_pages", base.usedPages), .init("free_pages", base.freePages),
            .init("verified_pages", base.verifiedPages),
            .init("applied_index", base.appliedIndex),
        ]
        if let log {
            fields += [
                .init("log_first_index", log.firstIndex), .init("log_last_index", log.lastIndex),
                .init("log_checkpoint_index", log.checkpointIndex), .init("log_torn_bytes", log.tornBytes),
            ]
        }
        fields.append(
            .init(
                "findings",
                .array(findings.map { .object([.init("place", $0.place), .init("detail", $0.detail)]) })))
        fields.append(.init("omitted_findings", Int64(omittedFindings)))
        return .object(fields)
    }
}
