import EtcdAPI
import Store
import Vocabulary

// Alarms: raised and cleared through the log, so that all members refuse the same writes from the same entry on.
extension StateMachine {
    func applyAlarm(_ request: AlarmRequestView, _ term: RaftTerm) throws(RequestFailure) -> [UInt8] {
        guard let action = request.action else { throw .refused(.unknownMethod) }
        let kind = AlarmSet.Kind(rawValue: request.alarm)
        var answer: [AlarmSet.Alarm] = []
        switch (action, kind) {
        case (.get, let kind):
            if kind != nil || request.alarm == 0 { answer = alarms.list(kind) }
        case (.activate, let kind?):
            let alarm = AlarmSet.Alarm(kind: kind, memberID: request.memberID)
            if alarms.activate(alarm) { try record(alarm, isActive: true) }
            answer = [alarm]
        case (.deactivate, let kind?):
            let alarm = AlarmSet.Alarm(kind: kind, memberID: request.memberID)
            if alarms.deactivate(alarm) {
                try record(alarm, isActive: false)
                answer = [alarm]
            }
        case (.activate, nil), (.deactivate, nil):
            break
        }
        return AlarmResponse.encoded(
            header: header(term), alarms: answer.map { (memberID: $0.memberID, alarm: $0.kind.rawValue) })
    }

    private func record(_ alarm: AlarmSet.Alarm, isActive: Bool) throws(RequestFailure) {
        do throws(StoreError) {
            try writer.setRecord(.alarms, key: alarm.recordKey, value: isActive ? [1] : nil)
        } catch {
            throw .store(error)
        }
    }
}
