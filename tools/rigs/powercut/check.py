"""What a server must be after a crash: all that was acknowledged, and nothing that was not asked for."""

import subprocess
import traceback

import grpc

from harness.api import berth, pb
from harness.locks import acquire_request

from ..verify import HistoryUnreadable, compare_state, compacted_revision, read_all, replay
from ..workload import LOCKS
from ..ledger import show

WITHIN = 60.0

# What a server may bring about: it does not start or end, does not answer, refuses, or cannot be read.
EXPECTED = (RuntimeError, HistoryUnreadable, grpc.RpcError, subprocess.TimeoutExpired)


def in_words(error):
    """An exception as a problem: what the server did, or where the rig itself broke."""
    if isinstance(error, grpc.Call):
        return f"{error.code().name}: {error.details()}"
    if isinstance(error, RuntimeError | HistoryUnreadable):
        return str(error).strip()[-1500:]
    if isinstance(error, subprocess.TimeoutExpired):
        return f"did not end within {error.timeout:.0f} s: {error.cmd}"
    return "the rig itself broke: " + "".join(traceback.format_exception(error)).strip()[-1500:]


class Checked:
    """What a recovered server turned out to hold."""

    def __init__(self, revision, compacted, hash):
        self.revision = revision
        self.compacted = compacted
        self.hash = hash


def check(client, past, instant, draw, problems, thorough=False):
    """Holds a server against the past, as it is after a crash at `instant`. Nothing is written."""
    revision = client.revision()
    floor = past.floor(instant)
    if revision < floor:
        problems(f"lost: the store is at revision {revision}, but {floor} had been told")
    if revision > past.ledger.last:
        extra = list(replay(client, past.ledger.last + 1, revision))
        if not all(past.explains(*batch) for batch in extra):
            problems(f"invented: the store is at revision {revision}, but {past.ledger.last} was the last")
        revision = past.ledger.last
    if author := past.unasked(revision, instant):
        problems(f"invented: revision {revision} holds what had not been asked for: operation {author.id}")
    compacted = check_compaction(client, past, instant, revision, problems)
    lowest = max(1, compacted)
    state = past.ledger.state(revision)
    hashed = None
    for at in sorted({revision, draw.randint(min(lowest, revision), revision)}):
        held = state if at == revision else past.ledger.state(at)
        found, count = read_all(client, at)
        compare_state(held, found, at, problems)
        if count != len(found):
            problems(f"the range at revision {at} counts {count} keys and has {len(found)}")
        expected = past.hash(at, compacted, held)
        hashed = client.maintenance.HashKV(pb.HashKVRequest(revision=at), timeout=WITHIN).hash
        if expected is not None and hashed != expected:
            problems(f"HashKV at revision {at} is {hashed}, but {expected} by the recorded history")
    if thorough:
        check_history(client, past, compacted, revision, problems)
    check_leases(client, past, instant, revision, state, draw, problems)
    return Checked(revision, compacted, hashed)


def check_compaction(client, past, instant, revision, problems):
    compacted = compacted_revision(client)
    sure, possible = past.may_be_compacted(instant)
    if compacted < sure:
        problems(f"compacted at {compacted}, but {sure} was acknowledged")
    if compacted not in possible:
        problems(f"compacted at {compacted}, which nobody asked for")
    return min(compacted, revision)


def check_history(client, past, compacted, revision, problems):
    """Every revision as a watch shows it."""
    expected = compacted + 1 if compacted else 2
    for main, events in replay(client, expected, revision):
        if main != expected:
            problems(f"revisions {expected} to {main - 1} are missing")
        if past.ledger.revisions.get(main) != events:
            problems(f"revision {main} has other content than was acknowledged or shown")
        expected = main + 1
    if expected != revision + 1:
        problems(f"revisions {expected} to {revision} are missing")


def check_leases(client, past, instant, revision, state, draw, problems):
    there = set(client.leases())
    granted, revoked = past.leases(instant)
    for lease in granted - there:
        problems(f"lost: lease {lease:x}")
    for lease in revoked & there:
        problems(f"revoked and there all the same: lease {lease:x}")
    lasting = sorted(granted & there)
    for lease in draw.sample(lasting, min(4, len(lasting))):
        keys = list(client.time_to_live(lease, keys=True).keys)
        if keys != past.attached(lease, state):
            problems(f"lease {lease:x} has {len(keys)} keys, expected {len(past.attached(lease, state))}, or others")
    for kv in state:
        if kv.lease and kv.lease not in there and kv.key not in past.places:
            problems(f"{show(kv.key)} hangs on lease {kv.lease:x}, which is not there")


def check_locks(client, past, revision, problems):
    """No token is handed out twice: who holds still holds, and a new one is newer than all before."""
    tokens = []
    for number, lock in enumerate(LOCKS):
        request = acquire_request(lock, ttl=600, wait=0, owner=f"{number}/")
        answer = client.locks.Acquire(request, timeout=WITHIN)
        if answer.acquired:
            tokens.append(answer.handle.token)
            if past.lasting_holder(lock, revision):
                problems(f"{show(lock)} was given away by token {answer.handle.token} while another holds it")
            if answer.handle.token <= revision:
                problems(f"{show(lock)}: token {answer.handle.token} is not above revision {revision}")
            client.locks.Release(berth.ReleaseRequest(key=answer.handle.key, token=answer.handle.token), timeout=WITHIN)
        elif not past.line(lock, revision):
            problems(f"{show(lock)} is not given, though nobody stands in its line")
    if len(set(tokens)) != len(tokens):
        problems(f"a token was handed out twice: {tokens}")


def check_work(client, revision, mark, problems):
    """The server takes writes, under revisions of their own. Returns those."""
    key, made = b"after the crash", []
    for number in range(3):
        value = b"%s %d" % (mark, number)
        at = client.put(key, value, timeout=WITHIN).header.revision
        if at <= max([revision, *made]):
            problems(f"revision {at} was given again, after {max([revision, *made])}")
        made.append(at)
        kv = client.range(key, timeout=WITHIN).kvs[0]
        if (kv.value, kv.mod_revision) != (value, at):
            problems(f"a write at revision {at} reads back as of revision {kv.mod_revision}")
    return made


def check_again(client, past, checked, made, mark, problems):
    """The same after one more start."""
    try:
        compacted = compacted_revision(client)
        if compacted != checked.compacted and checked.revision >= compacted:
            problems(f"compacted at {compacted} after one more start, {checked.compacted} before")
        answer = client.maintenance.HashKV(pb.HashKVRequest(revision=checked.revision), timeout=WITHIN)
        if answer.hash != checked.hash:
            problems(f"HashKV at revision {checked.revision} is {answer.hash} after one more start, {checked.hash} before")
    except grpc.RpcError as error:
        problems(f"after one more start: {error.code().name}: {error.details()}")
    if (now := client.revision()) < made[-1]:
        problems(f"lost after one more start: the store is at revision {now}, but {made[-1]} was acknowledged")
    kvs = client.range(b"after the crash", timeout=WITHIN).kvs
    if not kvs or kvs[0].value != b"%s %d" % (mark, len(made) - 1):
        problems("the write after the crash is gone after one more start")


def examine(server, past, instant, draw, mark, problems, thorough=False):
    """A whole look at one image, over two starts of a server on it. Raises whatever ends it early."""
    try:
        server.start()
        with server.client() as client:
            checked = check(client, past, instant, draw, problems, thorough)
            check_locks(client, past, checked.revision, problems)
            made = check_work(client, checked.revision, mark, problems)
        if draw.random() < 0.3:
            if (code := server.stop()) != 0:
                problems(f"the server ended with {code} when told to stop")
        else:
            server.kill()
        server.start()
        with server.client() as client:
            check_again(client, past, checked, made, mark, problems)
        server.kill()
        if complaint := server.build.check(server.data_dir):
            problems(complaint)
    finally:
        server.kill()
