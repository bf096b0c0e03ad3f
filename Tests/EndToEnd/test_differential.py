"""The differential test is put to the test: with one fault planted in what the subject answers, it must find it."""

import pytest

from differential import side as sides
from differential.generator import MAX_TXN_OPS
from differential.run import Mismatch, Run
from differential.side import Failure, Side
from harness.server import target

OPERATIONS = 800


class Planted(Side):
    """A side whose answers and watch events pass through faults on their way in."""

    def __init__(self, server, answer=lambda answer: answer, take=lambda events: events):
        super().__init__("planted", server)
        self.fault = answer
        self.take = take

    def connect(self):
        super().connect()
        for watcher in self.watchers:
            watcher.fault = self.take

    def finish(self, future, request):
        return self.fault(super().finish(future, request))


class PlantedReader(sides.WatchReader):
    fault = staticmethod(lambda answer: answer)

    def _take(self, answer):
        answer = self.fault(answer)
        if answer is not None:
            super()._take(answer)


class Once:
    """Applies a change to the n-th thing that the change applies to: a change returns False for "not this one"."""

    def __init__(self, number, change):
        self.left = number
        self.change = change

    def __call__(self, thing):
        if self.left > 0:
            changed = self.change(thing)
            if changed is not False:
                self.left -= 1
                if self.left == 0:
                    return changed
        return thing


def copy(message):
    duplicate = type(message)()
    duplicate.CopyFrom(message)
    return duplicate


def later_revision(answer):
    if isinstance(answer, tuple) or not answer.HasField("header"):
        return False
    answer = copy(answer)
    answer.header.revision += 1
    return answer


def other_text(answer):
    return (answer[0], answer[1] + ".") if isinstance(answer, tuple) else False


def other_code(answer):
    return ("UNKNOWN", answer[1]) if isinstance(answer, tuple) else False


def lost_key(answer):
    if isinstance(answer, tuple) or not getattr(answer, "kvs", None):
        return False
    answer = copy(answer)
    del answer.kvs[-1]
    return answer


def other_version(answer):
    if isinstance(answer, tuple) or not getattr(answer, "kvs", None):
        return False
    answer = copy(answer)
    answer.kvs[0].version += 1
    return answer


def lost_event(answer):
    if not answer.events:
        return False
    answer = copy(answer)
    del answer.events[-1]
    return answer if answer.events else None


def doubled_event(answer):
    if not answer.events:
        return False
    answer = copy(answer)
    answer.events.append(answer.events[-1])
    return answer


def swapped_events(answer):
    if len(answer.events) < 2 or answer.events[0] == answer.events[1]:
        return False
    answer = copy(answer)
    first, second, *rest = [copy(event) for event in answer.events]
    del answer.events[:]
    answer.events.extend([second, first, *rest])
    return answer


def lost_previous(answer):
    if not any(event.HasField("prev_kv") for event in answer.events):
        return False
    answer = copy(answer)
    for event in answer.events:
        event.ClearField("prev_kv")
    return answer


ANSWER_FAULTS = [later_revision, other_text, other_code, lost_key, other_version]
EVENT_FAULTS = [lost_event, doubled_event, swapped_events, lost_previous]


@pytest.fixture
def run(new_server, monkeypatch):
    def make(**faults):
        servers = [new_server(kind=kind, max_txn_ops=MAX_TXN_OPS).start() for kind in (target(), "etcd")]
        return Run(Planted(servers[0], **faults), Side("peer", servers[1]), seed=1, operations=OPERATIONS)

    monkeypatch.setattr(sides, "WatchReader", PlantedReader)
    monkeypatch.setattr(sides, "TIMEOUT", 3.0)
    return make


@pytest.mark.parametrize("change", ANSWER_FAULTS)
def test_a_wrong_answer_is_found(run, change):
    with pytest.raises((Mismatch, Failure)):
        run(answer=Once(10, change)).run()


@pytest.mark.parametrize("change", EVENT_FAULTS)
def test_a_wrong_event_is_found(run, change):
    with pytest.raises((Mismatch, Failure)):
        run(take=Once(10, change)).run()


def test_nothing_is_found_where_nothing_is_wrong(run):
    run().run()
