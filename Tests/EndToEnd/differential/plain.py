"""The part of a run that is about plain HTTP: streams line by line, requests that are wrong, health and version."""

import json
import re

from harness.api import pb
from .accounts import NOBODY
from .failure import Failure, Mismatch
from .gateway import Lines, base64_text, without_grpc
from .watches import ExpectedWatch

# Without those that Go's router answers with a redirect to a tidier path, such as /v3.
PATHS = [
    "/", "/v2/keys", "/v2", "/v3/", "/v3/kv", "/v3/kv/range", "/v3/kv/range/", "/v3/kv/Range",
    "/v3/kv/rang", "/v3/watch", "/v3/lease/keepalive", "/v3alpha/kv/range", "/v3beta/kv/range", "/v3beta/nothing",
    "/etcdserverpb.KV/Range", "/health", "/health/", "/version", "/nothing", "/v3/kv/range?key=YQ==",
    "/health?exclude=NOSPACE", "/health?exclude=NOSPACE&exclude=CORRUPT",
]  # fmt: skip
VERBS = ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "POST", "HEAD"]

# Bodies for POST /v3/kv/range that are refused, or are not what they look like.
BODIES = [
    "{", '{"key"', '{"key":', '{"key":"', '{"key":"YQ==', '{"key":"YQ=="', "", " ", "null", "{}", "[]", '"x"', "7", "true",
    "}", "{}}", "{'key':'YQ=='}", "{key:1}", '{"key":"YQ=="} rest', '{"key":"YQ=="}{"key":"Yg=="}',
    '{"key":"YQ==","limit":"x"}', '{"key":"YQ==","limit":"1"}', '{"key":"YQ==","limit":1.5}', '{"key":"YQ==","limit":1e2}',
    '{"key":"YQ==","limit":99999999999999999999}', '{"key":"YQ==","limit":true}', '{"key":"YQ==","limit":null}',
    '{"key":"YQ==","serializable":"true"}', '{"key":"YQ==","serializable":1}', '{"key":"YQ==","serializable":null}',
    '{"key":"YQ==","sort_order":"NOPE"}', '{"key":"YQ==","sort_order":"ASCEND"}', '{"key":"YQ==","sort_order":1}',
    '{"key":"YQ==","sort_order":"1"}', '{"key":"YQ==","sort_order":true}', '{"key":"YQ==","sort_order":null}',
    '{"key":"Y"}', '{"key":"YQ"}', '{"key":"YQ="}', '{"key":"Y!=="}', '{"key":"_-=="}', '{"key":"YWJjZA"}', '{"key":" "}',
    '{"key":{}}', '{"key":false}', '{"key":null}', '{"KEY":"YQ=="}', '{"Key":"YQ=="}', '{"key":"YQ==","nothing":{"a":[1]}}',
    '{"key":"YQ==","key":"Yg=="}', '{"rangeEnd":"Yg==","key":"YQ=="}', '{"key":"YQ==","header":1}', '{"key":"\\u0059Q=="}',
    '{"key":"YQ==","limit":"\\u0031"}', '\ufeff{"key":"YQ=="}', '{"key":"YQ==",}', '{"key":"YQ=="/**/}',
    '{"key":"YQ==","limit":-1}', '{"key":"YQ==","limit":"-1"}', '{"key":"YQ==","limit":01}', '{"key":"YQ==","limit":"9223372036854775808"}',
]  # fmt: skip

# What Go's JSON decoder says is its own affair, but for these.
_EXACT = re.compile(r"illegal base64 data at input byte \d+|unexpected EOF|etcdserver: .*|context .*|rpc error.*")


class PlainOperations:
    def exchange(self, verb, path, body=None, headers=None):
        """One request to both, by itself; returns the answer after comparing status, headers and body."""
        self.what = f"{verb} {path} with body {body!r} and headers {headers}"
        for side in self.sides:
            side.gateway.send(verb, path, body, headers or {})
        answers = [self.comparable(side.identity, *side.gateway.receive()) for side in self.sides]
        if answers[0] != answers[1]:
            self.differ(*answers)
        return answers[0]

    def comparable(self, identity, status, headers, body):
        """An error's text is kept where clients may go by it; ids and versions are left out."""
        text = body.decode(errors="replace")
        if status != 200 or not text:  # See `normalise`, "Known of Berth".
            headers = without_grpc(headers)
        if headers.get("content-type") != "application/json" or not text:
            return status, headers, text
        content = json.loads(text)
        if "etcdserver" in content:
            return status, headers, sorted(content)
        for kv in content.get("kvs", []):
            if "lease" in kv:
                kv["lease"] = str(identity.symbols.get(int(kv["lease"]), kv["lease"]))
        if "header" in content:
            return status, headers, sorted(content["header"]), {k: v for k, v in content.items() if k != "header"}
        error = content.get("error")
        if isinstance(error, str) and not _EXACT.fullmatch(error):
            if content.get("message") != error:
                raise Failure(f"the two texts of an error differ: {content}")
            content["error"] = content["message"] = "some text"
        return status, headers, content

    def do_wrong_request(self):
        draw = self.draw.random
        if self.draw.chance(0.5):
            verb, path = draw.choice(VERBS), draw.choice(PATHS)
            if (verb, path.split("?")[0]) == ("POST", "/v3/watch"):
                return  # Would be a stream without an end.
            if verb == "GET" and path.startswith("/health") and self.rules.health_without_reason:
                return
            has_body = verb not in ("GET", "HEAD", "OPTIONS") and path != "/v3/lease/keepalive"
            status = self.exchange(verb, path, b"{}" if has_body else None)[0]
            self.errors[f"HTTP {status}"] += 1
            return
        path = draw.choice(["/v3/kv/range", "/v3/kv/range", "/v3/lease/keepalive"])
        body = draw.choice(BODIES)
        if path == "/v3/lease/keepalive":
            body = draw.choice(["", "{", '{"ID":', "[]", '"x"', '{"ID":"x"}', '{"ID":true}'])
        elif self.draw.chance(0.3):
            # Any valid request, cut short: never whole, so it cannot change anything.
            text = json.dumps({"key": base64_text(self.draw.key() or b"k"), "limit": "3", "sort_order": "DESCEND"})
            body = text[: draw.randrange(1, len(text))]
        status = self.exchange("POST", path, body.encode(), self.http_headers())[0]
        self.errors[f"HTTP {status}"] += 1

    def http_headers(self):
        """Root's token, which is another one at each side, is not among them: such requests are nobody's."""
        return {"Content-Type": "application/json"} if self.draw.chance(0.5) else {}

    def do_http_state(self):
        for path in ("/health", "/version"):
            if path == "/health" and self.rules.health_without_reason:
                continue
            self.exchange("GET", path)

    def do_deadline(self):
        """A deadline that has passed before anything can be done."""
        if self.rules.context_errors_are_unknown:
            return
        headers = {"Grpc-Timeout": self.draw.random.choice(["1n", "1u"])}
        self.exchange("POST", "/v3/kv/range", b'{"key":"YQ=="}', headers)

    # Streams

    def lines(self, path, requests, answer_class, caller):
        return [
            Lines(side.gateway, path, requests, answer_class, dict(side.http_metadata(caller))) for side in self.sides
        ]

    def do_http_keep_alive(self):
        caller = self.root_caller()
        requests = [pb.LeaseKeepAliveRequest(ID=self.draw.some_lease()) for _ in range(self.draw.random.randint(0, 3))]
        requests = [request for request in requests if request.ID not in self.draw.picked]
        self.what = ("POST /v3/lease/keepalive", requests)
        if not requests:
            return
        streams = self.lines("/v3/lease/keepalive", requests, pb.LeaseKeepAliveResponse, caller)
        try:
            for request in requests:
                answers = [side.identity.answer(s.next(), request) for side, s in zip(self.sides, streams)]
                if answers[0] != answers[1]:
                    self.differ(*answers)
            for side, stream in zip(self.sides, streams):
                if (end := stream.next()) is not None:
                    raise Mismatch(f"{side}: a line after the last answer: {end}")
        finally:
            for stream in streams:
                stream.close()

    def do_http_watch(self):
        """A watch over HTTP: what it replays is what History has, and a put that comes then is seen live."""
        create = self.draw.watch(set())
        create.watch_id = 0
        if not create.key:
            create.key, create.range_end = b"a", b""
        create.start_revision = self.draw.random.choice([0, self.draw.past_revision(), self.draw.past_revision()])
        if create.start_revision == self.draw.compacted:  # See `drops_tombstone_at_compact_revision`.
            create.start_revision += 1 if create.start_revision else 0
        self.sync()
        request = pb.WatchRequest(create_request=create)
        self.what = ("POST /v3/watch", request)
        streams = self.lines("/v3/watch", [request], pb.WatchResponse, self.root_caller())
        try:
            self.follow(create, streams)
        finally:
            for stream in streams:
                stream.close()

    def follow(self, create, streams):
        created = [self.watch_line(side, stream) for side, stream in zip(self.sides, streams)]
        if created[0] != created[1]:
            self.differ(*created)
        if created[0].canceled:
            return
        expected = ExpectedWatch(
            stream=None, watch_id=0, key=create.key, range_end=create.range_end, live=False, created_at=0,
            start_revision=create.start_revision or self.draw.revision + 1, filters=frozenset(create.filters),
        )  # fmt: skip
        owed = [event for event in self.history.events if expected.wants(event)]
        self.sync()
        new = self.history.events[-1]
        owed += [new] if expected.wants(new) else []
        seen = [[], []]
        for events, side, stream in zip(seen, self.sides, streams):
            while len(events) < len(owed):
                events.extend(self.watch_line(side, stream).events)
        if seen[0] != seen[1]:
            at = next((i for i, (a, b) in enumerate(zip(*seen)) if a != b), min(map(len, seen)))
            self.differ(*[events[at] if at < len(events) else "no such event" for events in seen])
        for event, expected_event in zip(seen[0], owed):
            if (event.type, event.kv) != (expected_event.type, expected_event.kv):
                raise Mismatch(f"both sides:\n{event}\nbut history has\n{expected_event}")
        self.delivered += len(owed)

    def watch_line(self, side, stream):
        answer = stream.next()
        if answer is None or isinstance(answer, tuple):
            raise Failure(f"{side}: the watch over HTTP ended: {answer}")
        side.identity.header(answer.header)
        for event in answer.events:
            side.identity.key_values([event.kv, event.prev_kv] if event.HasField("prev_kv") else [event.kv])
        return answer

    def root_caller(self):
        return self.accounts.root if self.accounts.enabled else NOBODY
