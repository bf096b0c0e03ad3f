"""The differential test is put to the test: with one fault planted in what the subject answers, it must find it."""

import json

import pytest

from differential import side as sides
from differential.failure import Failure, Mismatch
from differential.gateway import Gateway
from differential.generator import MAX_TXN_OPS
from differential.modes import Modes
from differential.peers import binary, usual_peer, version_of
from differential.run import Run
from differential.side import Side
from harness.server import target

OPERATIONS = 800


class Planted(Side):
    """A side whose answers and watch events pass through faults on their way in."""

    def __init__(self, server, answer=lambda answer: answer, take=lambda events: events, http=lambda http: http):
        super().__init__("planted", server)
        self.fault = answer
        self.take = take
        self.http = http

    def open(self):
        super().open()
        self.gateway = PlantedGateway(self.name, self.server)
        self.gateway.fault = self.http

    def connect(self, *caller):
        super().connect(*caller)
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


class PlantedGateway(Gateway):
    def receive(self):
        return self.fault(super().receive())


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


def allowed(answer):
    return (answer[0], "") if isinstance(answer, tuple) and answer[0] == "PERMISSION_DENIED" else False


def other_role(answer):
    if isinstance(answer, tuple) or not getattr(answer, "roles", None):
        return False
    answer = copy(answer)
    answer.roles[0] += "s"
    return answer


def in_json(change):
    """A fault in the JSON of an answer over HTTP."""

    def fault(http):
        status, headers, body = http
        if headers.get("content-type") != "application/json" or not body:
            return False
        content = json.loads(body)
        if change(content) is False:
            return False
        return status, headers, json.dumps(content).encode()

    return fault


@in_json
def number_without_quotes(content):
    if "revision" not in content.get("header", {}):
        return False
    content["header"]["revision"] = int(content["header"]["revision"])


@in_json
def default_written(content):
    if "kvs" not in content or "more" in content:
        return False
    content["more"] = False


@in_json
def camel_case(content):
    if not content.get("kvs"):
        return False
    content["kvs"][0]["modRevision"] = content["kvs"][0].pop("mod_revision")


@in_json
def one_text_missing(content):
    return False if "error" not in content else content.pop("message") and None


def other_status(http):
    return (http[0] + 1, *http[1:]) if http[0] in (400, 404) else False


def header_missing(http):
    status, headers, body = http
    return status, {name: value for name, value in headers.items() if not name.endswith("allow-methods")}, body


ANSWER_FAULTS = [later_revision, other_text, other_code, lost_key, other_version]
AUTH_FAULTS = [allowed, other_role]
HTTP_FAULTS = [number_without_quotes, default_written, camel_case, one_text_missing, other_status, header_missing]
EVENT_FAULTS = [lost_event, doubled_event, swapped_events, lost_previous]


@pytest.fixture
def run(new_server, monkeypatch, tmp_path):
    def make(modes=Modes(), operations=OPERATIONS, **faults):
        security = modes.security(tmp_path / "certificates")
        servers = []
        for name in (target(), usual_peer()):
            kind = binary(name)
            flags = modes.flags(version_of(kind)) | {"max_txn_ops": MAX_TXN_OPS}
            servers.append(new_server(kind=kind, security=security, **flags).start())
        return Run(Planted(servers[0], **faults), Side("peer", servers[1]), seed=1, operations=operations, modes=modes)

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


@pytest.mark.parametrize("change", AUTH_FAULTS)
def test_a_wrong_judgement_is_found(run, change):
    with pytest.raises((Mismatch, Failure)):
        run(Modes(auth=True), answer=Once(1, change)).run()


@pytest.mark.parametrize("change", HTTP_FAULTS)
def test_a_wrong_answer_over_http_is_found(run, change):
    with pytest.raises((Mismatch, Failure)):
        run(Modes(gateway=True), http=Once(5, change)).run()


@pytest.mark.parametrize(
    "modes", [Modes(), Modes(auth=True, gateway=True), Modes(gateway=True, tls="server"), Modes(auth=True, tls="client")]
)
def test_nothing_is_found_where_nothing_is_wrong(run, modes):
    run(modes).run()
