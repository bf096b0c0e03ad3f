"""Sends the drawn sequence to both servers and compares."""

import collections
import re
import time

from google.protobuf import text_format

from harness.api import pb
from .accounts import NOBODY, Accounts, AuthOperations
from .failure import Failure, Mismatch
from .gateway import PATHS as GATEWAY_PATHS
from .gateway import Form
from .generator import SENTINEL, Generator
from .modes import Modes
from .normalise import loses_writes_when_killed, peer_for, survives_restart
from .peers import version_of
from .plain import PlainOperations
from .services import ServiceOperations
from .side import HISTORY, STREAMS
from .watches import ExpectedWatch, History

SYNC_EVERY = 100  # Operations between two comparisons of all watches.
CATCH_UP = 0.35  # Seconds within which a server has moved a watch that replayed history to the live ones.


def show(value):
    if isinstance(value, tuple):
        # An error's code and text, or what an HTTP answer is compared by.
        return f"  error {value[0]}: {value[1]}" if len(value) == 2 else "\n".join(f"  {part}" for part in value)
    if hasattr(value, "DESCRIPTOR"):
        text = text_format.MessageToString(value, as_utf8=False)
        text = re.sub(r'"([^"\n]{60})[^"\n]{20,}"', lambda match: f'"{match[1]}…" ({len(match[0])} characters)', text)
        return "\n".join(f"  {line}" for line in (text or "(empty)").splitlines())
    return f"  {value}"


class Run(AuthOperations, PlainOperations, ServiceOperations):
    """One sequence. `subject` is what is tested, `peer` is the authority."""

    def __init__(self, subject, peer, seed, operations, restarts=0, attach_picked=0.8, verbose=False, modes=Modes()):
        self.sides = [subject, peer]
        self.subject, self.peer = subject, peer
        self.seed = seed
        self.operations = operations
        self.restart_at = {operations * (i + 1) // (restarts + 1): i for i in range(restarts)}
        self.attach_picked_at = int(operations * attach_picked)
        self.verbose = verbose
        self.draw = Generator(seed)
        self.modes = modes
        self.without = set()  # Kinds of operations that are left out.
        self.accounts = Accounts(self.draw.random)
        self.history = History()
        self.number = 0
        self.passed = 0
        self.counts = collections.Counter()
        self.errors = collections.Counter()
        self.delivered = 0
        self.symbol = -1_000_000_000_000
        self.what = "start"  # What is being compared, for the report.

    # The sequence

    def run(self):
        self.connect()
        self.rules = peer_for(min(side.version() for side in self.sides if not side.server.is_berth))
        kinds, weights = zip(*self.kinds().items())
        while self.number < self.operations:
            self.number += 1
            if self.modes.auth and self.number == self.operations // 20:
                self.do_auth_switch()  # Late enough for some users and roles to be there.
            self.draw.picked_attach = self.number > self.attach_picked_at
            kind = self.draw.random.choices(kinds, weights)[0]
            self.counts[kind] += 1
            getattr(self, f"do_{kind}")()
            self.passed += 1
            if self.number % SYNC_EVERY == 0:
                self.sync()
            if self.number in self.restart_at:
                self.restart(kill=self.restart_at[self.number] % 2 == 1)
            if self.verbose and self.number % 1000 == 0:
                print(f"{self.number} operations, revision {self.draw.revision}", flush=True)
        self.finish()

    def kinds(self):
        """Kind of operation → weight, in this run's modes."""
        kinds = dict(_KINDS)
        if self.modes.auth:
            kinds |= _AUTH_KINDS
        if self.modes.gateway:
            kinds |= _GATEWAY_KINDS
        return {kind: weight for kind, weight in kinds.items() if kind not in self.without}

    def finish(self):
        """The whole state, once more."""
        self.sync()
        self.what = "final state"
        root = self.root_caller()
        everything = pb.RangeRequest(key=b"\0", range_end=b"\0")
        self.both("kv.Range", everything, root)
        for revision in range(max(1, self.draw.compacted), self.draw.revision, 97):
            self.both("kv.Range", pb.RangeRequest(key=b"\0", range_end=b"\0", revision=revision), root)
        leases = self.both("lease.LeaseLeases", pb.LeaseLeasesRequest(), root)
        for status in leases.leases:
            self.both("lease.LeaseTimeToLive", pb.LeaseTimeToLiveRequest(ID=status.ID, keys=True), root)
        if self.modes.auth:
            for user in self.both("auth.UserList", pb.AuthUserListRequest(), root).users:
                self.both("auth.UserGet", pb.AuthUserGetRequest(name=user), root)
            for role in self.both("auth.RoleList", pb.AuthRoleListRequest(), root).roles:
                self.both("auth.RoleGet", pb.AuthRoleGetRequest(role=role), root)
        self.compare_final_hash(root)

    def compare_final_hash(self, root):
        """The whole history by its hash. Keys on leases that each server picked an id for are deleted first, and what
        was before them is compacted away: their ids are hashed."""
        for id in sorted(self.draw.picked & self.draw.leases):
            self.revoke(id)
        if self.draw.picked:
            self.both("kv.Put", pb.PutRequest(key=SENTINEL, value=b"last"), root)
            self.sync()
            time.sleep(CATCH_UP)
            self.both("kv.Compact", pb.CompactionRequest(revision=self.draw.revision, physical=True), root)
            self.both("kv.Put", pb.PutRequest(key=SENTINEL, value=b"after"), root)
        answer = self.both("maintenance.HashKV", pb.HashKVRequest(), root, over_grpc=self.rules.lacks_hashkv_route)
        if isinstance(answer, tuple):
            raise Failure(f"both sides refuse the last HashKV: {answer}")
        self.hash = answer.hash

    def connect(self):
        """Connects both sides and opens the watch over everything."""
        for side in self.sides:
            side.connect(self.root_caller())
        create = pb.WatchCreateRequest(key=b"\0", range_end=b"\0", prev_kv=True)
        self.compare_created(HISTORY, create)
        self.history_seen = 0
        self.stale = set()  # (stream, id) of watches that were cancelled as compacted.

    def restart(self, kill):
        """Both servers end and go on from their data; watches end with them. Every other time the subject is killed.

        The peer never is: etcd 3.5.1 dies at start when its log's tail uses a lease that it forgot (see `normalise`).
        """
        for id in sorted(self.draw.leases):
            if id not in self.draw.picked and not survives_restart(id):
                self.revoke(id)
        self.sync()
        self.what = "restart"
        self.history.open.clear()
        for side in self.sides:
            side.disconnect()
            if kill and side is self.subject and not loses_writes_when_killed(version_of(side.server.kind)):
                side.server.kill()
            else:
                side.server.stop()
        for side in self.sides:
            side.server.start()
            side.open()
        self.accounts.tokens.clear()  # Simple tokens are gone with the process.
        self.log_in()
        self.connect()
        self.counts["restart"] += 1
        self.both("kv.Range", pb.RangeRequest(key=b"\0", range_end=b"\0"), self.root_caller())
        self.both("lease.LeaseLeases", pb.LeaseLeasesRequest(), self.root_caller())

    # Unary operations

    def both(self, method, request, caller=None, over_grpc=False):
        """Sends to both, compares, and returns the answer (or the error).

        `caller` None: someone is drawn.
        """
        if caller is None:
            caller = self.accounts.caller(method, request, self.rules, self.number) if self.modes.auth else NOBODY
        form = None
        if self.modes.gateway and method in GATEWAY_PATHS and not over_grpc and self.draw.chance(0.6):
            form = Form.drawn(self.draw.random)
        self.what = (f"{method} by {caller.token or 'nobody'} {f'as {form}' if form else 'over gRPC'}", request)
        calls = [side.begin(method, request, caller, form) for side in self.sides]
        answers = [side.finish(call, request) for side, call in zip(self.sides, calls)]
        if answers[0] != answers[1]:
            self.differ(*answers)
        answer = answers[0]
        if isinstance(answer, tuple):
            self.errors[": ".join(answer)] += 1
            if answer[0] in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                raise Failure(f"both sides: {answer}")
        elif "header" in answer.DESCRIPTOR.fields_by_name and answer.header.revision > self.draw.revision:
            self.draw.revision = answer.header.revision
        return answer

    def differ(self, mine, theirs):
        raise Mismatch(f"{self.subject}:\n{show(mine)}\n{self.peer}:\n{show(theirs)}")

    def do_put(self):
        self.both("kv.Put", self.draw.put())

    def do_delete(self):
        self.both("kv.DeleteRange", self.draw.delete())

    def do_range(self):
        self.both("kv.Range", self.draw.read())

    def do_txn(self):
        self.both("kv.Txn", self.draw.txn())

    def do_read_txn(self):
        self.both("kv.Txn", self.draw.read_only_txn())

    def do_compaction(self):
        request = self.draw.compaction()
        self.sync()
        # Compaction cancels a watch that is still behind, even one that has no events left to come, so none may be.
        # Early versions have no way to ask, hence the wait.
        behind = [w for w in self.history.open.values() if not w.live and w.start_revision < request.revision]
        latest = max((w.created_at for w in behind), default=0)
        time.sleep(max(0.0, latest + CATCH_UP - time.monotonic()))
        if not isinstance(self.both("kv.Compact", request), tuple):
            self.draw.compacted = max(self.draw.compacted, request.revision)

    def do_hash(self):
        revision = self.draw.any_revision()
        if revision == self.draw.compacted and self.rules.refuses_hash_at_compact_revision:
            revision = 0
        everything = pb.RangeRequest(key=b"\0", range_end=b"\0", count_only=True, revision=revision)
        live = self.both("kv.Range", everything, self.root_caller())
        # With no key alive, what compaction has already taken away shows in the hash. And ids of picked leases are
        # part of the hashed values, so once keys carry those, the hashes are bound to differ.
        if isinstance(live, tuple) or (live.count > 0 and not self.draw.picked_attach):
            self.both("maintenance.HashKV", pb.HashKVRequest(revision=revision), over_grpc=self.rules.lacks_hashkv_route)

    def do_status(self):
        """Members, alarms, status: only what two different servers must agree on."""
        self.what = "Alarm, MemberList and Status"
        shapes = []
        for side in self.sides:
            metadata = side.metadata(self.root_caller())
            alarms = side.client.maintenance.Alarm(pb.AlarmRequest(), metadata=metadata)
            members = side.client.cluster.MemberList(pb.MemberListRequest(linearizable=True), metadata=metadata)
            answer = side.client.maintenance.Status(pb.StatusRequest(), metadata=metadata)
            shapes.append(
                {
                    "alarms": list(alarms.alarms),
                    "revision of Alarm": self.rules.alarm_without_header or alarms.header.revision,
                    "revision of MemberList": members.header.revision,
                    "cluster of MemberList": members.header.cluster_id == side.identity.cluster_id,
                    "members": [
                        (m.ID == side.identity.member_id, m.name, list(m.clientURLs) == [side.server.url], m.isLearner)
                        for m in members.members
                    ],
                    "revision of Status": answer.header.revision,
                    "leads itself": answer.leader == side.identity.member_id,
                    "raft": (answer.raftTerm > 0, answer.raftIndex > 0, answer.raftAppliedIndex > 0),
                    "sizes": (answer.dbSize > 0, answer.dbSizeInUse > 0),
                    "errors and learner": (list(answer.errors), answer.isLearner),
                }
            )
        if shapes[0] != shapes[1]:
            self.differ(*shapes)

    def do_too_large(self):
        """Over the request limit, and over the message limit."""
        size = self.draw.random.choice([1_572_864, 2_097_152 + 1000])
        self.both("kv.Put", pb.PutRequest(key=b"large", value=b"v" * size), self.root_caller())

    # Leases

    def do_grant(self):
        request = self.draw.grant()
        if not isinstance(self.both("lease.LeaseGrant", request), tuple):
            self.draw.leases.add(request.ID)

    def do_grant_picked(self):
        """A lease whose id each server picks."""
        request = pb.LeaseGrantRequest(TTL=self.draw.random.choice([100_000, 200_000]))
        self.what = ("lease.LeaseGrant", request)
        self.symbol -= 1
        answers = []
        for side in self.sides:
            answer = side.client.lease.LeaseGrant(request, metadata=side.metadata(self.root_caller()))
            if answer.ID <= 0:
                raise Mismatch(f"{side} picked the lease id {answer.ID}")
            side.identity.name_lease(answer.ID, self.symbol)
            answers.append(side.identity.answer(answer, request))
        if answers[0] != answers[1]:
            self.differ(*answers)
        self.draw.leases.add(self.symbol)
        self.draw.picked.add(self.symbol)

    def do_short_lease(self):
        """Times to live below the minimum are raised to it. Revoked at once, before it can expire."""
        request = pb.LeaseGrantRequest(ID=999, TTL=self.draw.random.choice([0, -1, 1, 2, -9_000_000_000]))
        self.both("lease.LeaseGrant", request, self.root_caller())
        self.both("lease.LeaseRevoke", pb.LeaseRevokeRequest(ID=999), self.root_caller())

    def do_revoke(self):
        self.revoke(self.draw.some_lease())

    def revoke(self, id):
        answer = self.both("lease.LeaseRevoke", pb.LeaseRevokeRequest(ID=id), self.root_caller())
        if not isinstance(answer, tuple):
            self.draw.leases.discard(id)

    def do_time_to_live(self):
        request = pb.LeaseTimeToLiveRequest(ID=self.draw.some_lease(), keys=self.draw.chance(0.6))
        self.both("lease.LeaseTimeToLive", request)

    def do_leases(self):
        self.both("lease.LeaseLeases", pb.LeaseLeasesRequest())

    def do_keep_alive(self):
        ids = [self.draw.some_lease() for _ in range(self.draw.random.randint(1, 3))]
        for id in ids:
            for side in self.sides:
                side.send_keep_alive(id)
        for id in ids:
            request = pb.LeaseKeepAliveRequest(ID=id)
            self.what = ("lease.LeaseKeepAlive", request)
            answers = [side.identity.answer(side.keep_alive.next(), request) for side in self.sides]
            if answers[0] != answers[1]:
                self.differ(*answers)

    # Watches

    def do_watch(self):
        stream = self.draw.random.randrange(STREAMS)
        used = {watch_id for other, watch_id in self.history.open if other == stream}
        if len(used) >= 12:
            self.cancel(stream, self.draw.random.choice(sorted(used)))
        request = self.draw.watch(used)
        at_tombstone = request.start_revision == self.draw.compacted and self.draw.compacted > 0
        self.sync()
        compacted = 0 < request.start_revision < self.draw.compacted
        if compacted or (stream, request.watch_id) in self.stale:
            request.watch_id = 0
        if at_tombstone and self.rules.drops_tombstone_at_compact_revision:
            if request.start_revision in self.history.deleted_at:
                request.start_revision += 1
        created = self.compare_created(stream, request)
        if created.canceled:
            self.errors[f"watch refused: {created.cancel_reason}"] += 1
            return
        if compacted:
            self.what = ("watch from a compacted revision", request)
            self.compare_control(stream)
            self.stale.add((stream, created.watch_id))
            self.errors["watch cancelled: compacted"] += 1
            return
        live = request.start_revision == 0 or request.start_revision > created.header.revision
        watch = ExpectedWatch(
            stream=stream,
            watch_id=created.watch_id,
            key=request.key or b"\0",
            range_end=request.range_end,
            start_revision=request.start_revision or created.header.revision + 1,
            filters=frozenset(request.filters),
            live=live,
            created_at=time.monotonic(),
        )
        self.history.begin(watch)

    def compare_created(self, stream, request):
        self.what = (f"watch create on stream {stream}", request)
        for side in self.sides:
            side.watchers[stream].stream.send(pb.WatchRequest(create_request=request))
        created = self.compare_control(stream)
        if not created.created:
            raise Mismatch(f"not a created response:\n{show(created)}")
        return created

    def compare_control(self, stream):
        answers = [side.await_control(stream) for side in self.sides]
        if answers[0] != answers[1]:
            self.differ(*answers)
        if answers[0] is None:
            raise Failure("no answer from either side")
        return answers[0]

    def do_cancel(self):
        stream = self.draw.random.randrange(STREAMS)
        used = sorted(watch_id for other, watch_id in self.history.open if other == stream)
        if not used or self.draw.chance(0.1):
            # An unknown id gets no answer; the next answer on this stream shows that none came.
            for side in self.sides:
                side.watchers[stream].stream.send(
                    pb.WatchRequest(cancel_request=pb.WatchCancelRequest(watch_id=987_654_321))
                )
            return
        self.cancel(stream, self.draw.random.choice(used))

    def cancel(self, stream, watch_id):
        self.sync()  # All that is owed has come, so both sides stop at the same event.
        self.history.end(stream, watch_id)
        request = pb.WatchCancelRequest(watch_id=watch_id)
        self.what = (f"watch cancel on stream {stream}", request)
        for side in self.sides:
            side.watchers[stream].stream.send(pb.WatchRequest(cancel_request=request))
        self.compare_control(stream)

    def do_progress(self):
        """Asked when all watches of the stream are in sync; a server that thinks otherwise is asked again."""
        stream = self.draw.random.randrange(STREAMS)
        watches = [watch for (other, _), watch in self.history.open.items() if other == stream]
        if not watches or any(watch.start_revision > self.draw.revision for watch in watches):
            return
        self.sync()
        request = pb.WatchRequest(progress_request=pb.WatchProgressRequest())
        self.what = (f"progress request on stream {stream}", request)
        answers = []
        for side in self.sides:
            answer = None
            for _ in range(20):
                side.watchers[stream].stream.send(request)
                answer = side.await_control(stream, timeout=0.5)
                if answer:
                    break
            answers.append(answer)
        if answers[0] != answers[1]:
            self.differ(*answers)

    def sync(self):
        """Compares everything that watches have delivered so far."""
        self.both("kv.Put", pb.PutRequest(key=SENTINEL, value=b"%d" % self.number), self.root_caller())
        self.what = "events of the watch over everything"
        seen = [side.await_history(self.draw.revision) for side in self.sides]
        mine, theirs = (watch.events for watch in seen)
        for i in range(self.history_seen, max(len(mine), len(theirs))):
            self.compare_event(mine, theirs, i)
        self.compare_responses("the watch over everything", seen, self.history_seen, len(mine))
        new = mine[self.history_seen :]
        self.history_seen = len(mine)
        self.history.add(new)
        self.delivered += len(new)
        for watch in list(self.history.open.values()):
            self.compare_watch(watch)

    def compare_watch(self, expected):
        if expected.compared == expected.count:
            return
        self.what = f"events of {expected}"
        seen = [side.await_events(expected.stream, expected.watch_id, expected.count) for side in self.sides]
        mine, theirs = (watch.events for watch in seen)
        owed = self.history.of(expected, expected.compared, expected.count)
        for i in range(expected.compared, max(len(mine), len(theirs), expected.count)):
            self.compare_event(mine, theirs, i)
            event = owed[i - expected.compared] if i < expected.count else None
            if event is None or (event.type, event.kv) != (mine[i].type, mine[i].kv):
                raise Mismatch(f"event {i} of both is\n{show(mine[i])}\nbut history has\n{show(event)}")
        if expected.live:
            self.compare_responses(expected, seen, expected.compared, expected.count)
        self.delivered += expected.count - expected.compared
        expected.compared = expected.count

    def compare_event(self, mine, theirs, i):
        mine = mine[i] if i < len(mine) else "no such event"
        theirs = theirs[i] if i < len(theirs) else "no such event"
        if mine != theirs:
            self.what = f"{self.what}, event {i}"
            self.differ(mine, theirs)

    def compare_responses(self, watch, seen, start, stop):
        """A live watch gets each revision's events in one response, under that revision's header."""
        for side, delivered in zip(self.sides, seen):
            i = 0
            for revision, count, fragment in delivered.responses:
                events = delivered.events[i : i + count]
                if i >= start and i < stop:
                    if any(event.kv.mod_revision != revision for event in events) or fragment:
                        raise Mismatch(f"{side}: a response to {watch} under revision {revision} holds {events}")
                i += count


# Kind of operation → weight.
_KINDS = {
    "put": 340,
    "delete": 60,
    "range": 220,
    "txn": 170,
    "read_txn": 30,
    "compaction": 4,
    "hash": 6,
    "status": 4,
    "too_large": 1,
    "grant": 18,
    "grant_picked": 2,
    "short_lease": 3,
    "revoke": 12,
    "time_to_live": 25,
    "leases": 10,
    "keep_alive": 15,
    "watch": 22,
    "cancel": 8,
    "progress": 5,
    "lock": 3,
    "election": 3,
    "maintenance": 3,
    "health": 2,
}
_AUTH_KINDS = {"auth_change": 140, "authenticate": 25, "auth_switch": 1, "watch_refused": 10}
_GATEWAY_KINDS = {"wrong_request": 40, "http_state": 4, "deadline": 2, "http_keep_alive": 10, "http_watch": 10}
