"""`berth lock` and `berth elect`: a command that runs while a lock is held, and not a moment longer."""

import os
import select
import signal

import pytest

from harness.berthctl import Berth
from harness.locks import (
    await_places,
    begin_acquire,
    break_lock,
    fenced,
    hold,
    inspect,
    leader_of,
    put_op,
    refusal_of,
    release,
)
from harness.server import free_port

pytestmark = pytest.mark.berth_only

NAME = b"job"
# Says its process id and token, then waits; what it is told to write, it writes with the handle from its environment.
HELD = 'echo "$$ $BERTH_LOCK_TOKEN"; while read -r value; do "$0" put --with-lock job "$value"; echo "status $?"; done'


@pytest.fixture
def berth(server):
    return Berth(server.url)


def under_lock(berth, *options):
    return berth.start("lock", "job", *options, "--", "sh", "-c", HELD, berth.command()[0])


def has_ended(pid, within=0):
    """Whether a process, which is not a child of this one, has ended or does so in time."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], within)[0])
    finally:
        os.close(handle)


def await_end(pid):
    assert has_ended(pid, within=60), f"process {pid} goes on"


def descendants(pid):
    """All processes below one, from the top."""
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as children:
            for child in map(int, children.read().split()):
                found += [child, *descendants(child)]
    return found


def test_the_command_runs_under_the_lock_and_its_status_is_returned(berth, client):
    script = 'test "$BERTH_LOCK_KEY" = "$ETCD_LOCK_KEY" && echo "$BERTH_LOCK_NAME $BERTH_LOCK_TTL" && exit 7'
    result = berth.run("lock", "job", "--ttl", "30s", "--", "sh", "-c", script)
    assert result.code == 7 and result.lines == ["job 30"], result
    assert not inspect(client, NAME).places and client.leases() == []


def test_statuses_tell_what_went_wrong(berth, client):
    hold(client, NAME)
    assert berth.run("lock", "job", "--wait", "0", "--", "true").code == 124
    assert berth.run("lock", "other", "--", "no-such-command-anywhere").code == 127
    assert berth.run("lock", "other", "--", "/").code == 126
    assert berth.run("lock", "other", "--", "sh", "-c", "kill -TERM $$").code == 128 + signal.SIGTERM
    nowhere = Berth(f"http://127.0.0.1:{free_port()}")
    assert nowhere.run("lock", "other", "--timeout", "1s", "--", "true").code == 122
    assert berth.run("lock").code not in (0, 122, 123, 124)
    assert not inspect(client, b"other").places


def test_the_command_writes_with_the_handle_from_its_environment(berth, client):
    with under_lock(berth) as process:
        process.line()
        refusal_of(lambda: client.put(NAME, b"without"))
        process.write("with the handle\n")
        while process.line() != "status 0":
            pass
        assert client.get(NAME) == b"with the handle"
        process.process.stdin.close()
        assert process.wait() == 0


def test_a_signal_is_passed_on_and_the_lock_given_back(berth, client):
    with under_lock(berth) as process:
        process.line()
        process.signal(signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM
    assert not inspect(client, NAME).places


def test_the_command_of_a_paused_berth_lock_ends_before_its_lease(berth, client):
    """`berth lock` itself is paused past its time to live, its command is not, and must not go on."""
    with under_lock(berth, "--ttl", "4s") as process:
        pid, token = map(int, process.line().split())
        waiting = begin_acquire(client, NAME)
        await_places(client, NAME, 2)
        process.signal(signal.SIGSTOP)
        second = waiting.result().handle
        assert second.token > token
        assert has_ended(pid), "the command outlived the lock"
        process.signal(signal.SIGCONT)
        assert process.wait(60) == 123


def test_when_everything_is_paused_the_late_write_is_refused_and_the_command_killed(berth, client):
    """As on a machine that sleeps: nothing on it can act before the lease ends, so the store must."""
    with under_lock(berth, "--ttl", "4s") as process:
        pid, token = map(int, process.line().split())
        waiting = begin_acquire(client, NAME)
        await_places(client, NAME, 2)
        paused = [process.process.pid, *descendants(process.process.pid)]
        assert pid in paused
        # From the root on, so that none is made meanwhile.
        for one in paused:
            os.kill(one, signal.SIGSTOP)
        process.write("late\n")
        second = waiting.result().handle
        assert second.token > token
        assert fenced(client, second, put_op(NAME, b"by the next")).succeeded
        # The command first: it is as late as can be, and nobody has ended it yet.
        for one in reversed(paused):
            os.kill(one, signal.SIGCONT)
        assert process.wait(60) == 123
        await_end(pid)
        assert client.get(NAME) == b"by the next" and client.range(NAME).kvs[0].version == 1
        assert [place.token for place in inspect(client, NAME).places] == [second.token]


def test_a_command_that_ignores_the_end_of_its_lock_is_killed(berth, client):
    script = 'trap "" TERM; echo "$$"; while :; do read -r _ || sleep 1; done'
    with berth.start("lock", "job", "--ttl", "4s", "--", "sh", "-c", script) as process:
        pid = int(process.line())
        break_lock(client, NAME)
        assert process.wait(60) == 123
        await_end(pid)


def test_it_stands_in_line_with_everyone_else(berth, etcdctl, client):
    first = hold(client, NAME)
    with under_lock(berth) as second:
        await_places(client, NAME, 2)
        with etcdctl.start("lock", "job") as third:
            await_places(client, NAME, 3)
            release(client, first)
            second.line()
            second.process.stdin.close()
            assert second.wait() == 0
            assert third.line().startswith("job/")


def test_a_leader_that_dies_is_followed_by_the_next(berth, client):
    script = 'echo "leads $BERTH_LOCK_TOKEN"; read -r _'
    with berth.start("elect", "reports", "--ttl", "3s", "--", "sh", "-c", script) as first:
        token = int(first.line().split()[1])
        with berth.start("elect", "reports", "--ttl", "3s", "--", "sh", "-c", script) as second:
            await_places(client, b"reports", 2)
            assert leader_of(client, b"reports").token == token
            first.signal(signal.SIGKILL)
            assert int(second.line(60).split()[1]) > token
