"""One lock, every kind of client, 64 processes: they exclude each other and stand in one line."""

import os

import pytest

from harness.berthctl import Berth
from harness.locks import inspect
from harness.workers import go_mutex, go_mutex_binary, worker

pytestmark = pytest.mark.berth_only

EACH = int(os.environ.get("BERTH_TEST_WORKERS_EACH", "16"))
TTL = 60

# What each process does while it holds, seen from outside: a file that must not be there yet, a count that loses a step
# when two read it at once, and a write into the store that only the holder's key allows. etcdctl names its key in
# ETCD_LOCK_KEY and knows no create revision; the key's being there must do.
SECTION = """
key=${LOCK_KEY:-$ETCD_LOCK_KEY}
LOCK_TOKEN=${LOCK_TOKEN:-$BERTH_LOCK_TOKEN}
(set -C; : > "$1/held") 2>/dev/null || echo "$key found another holder" >> "$1/violations"
n=$(($(cat "$1/count") + 1))
if [ -n "$LOCK_TOKEN" ]; then compare="c(\\"$key\\") = \\"$LOCK_TOKEN\\""; else compare="c(\\"$key\\") > \\"0\\""; fi
printf '%s\\n\\nput fenced %s\\n\\n\\n' "$compare" "$n" | ETCDCTL_API=3 etcdctl --endpoints "$2" txn > "$1/answer" 2>&1
[ "$(head -n 1 "$1/answer")" = SUCCESS ] || { echo "$key:"; cat "$1/answer"; } >> "$1/violations"
echo "$n" > "$1/count"
echo "$key" >> "$1/order"
rm -f "$1/held"
"""


def test_64_processes_of_all_kinds_exclude_each_other_in_order_of_arrival(server, etcdctl, client, tmp_path):
    four_kinds = ["mutex", "service", "etcdctl", "acquire"]
    exclude_each_other(server, etcdctl, client, tmp_path, four_kinds, EACH)


def test_berth_lock_is_a_fifth_kind(server, etcdctl, client, tmp_path):
    five_kinds = ["command", "mutex", "service", "etcdctl", "acquire"]
    exclude_each_other(server, etcdctl, client, tmp_path, five_kinds, max(1, EACH // 4))


def exclude_each_other(server, etcdctl, client, tmp_path, kinds, each):
    script = tmp_path / "section"
    script.write_text(SECTION)
    (tmp_path / "count").write_text("0")
    section = ["sh", str(script), str(tmp_path), server.url]
    go_binary, berth = go_mutex_binary(), Berth(server.url)
    start = {
        "command": lambda: berth.start("lock", "--ttl", f"{TTL}s", "--guard", "fenced", "shared", "--", *section),
        "mutex": lambda: go_mutex(go_binary, server, "shared", TTL, *section),
        "service": lambda: worker(server, "service", "shared", "--ttl", str(TTL), "--run", *section),
        "etcdctl": lambda: etcdctl.start("lock", "--ttl", str(TTL), "shared", "--", *section),
        "acquire": lambda: worker(
            server, "acquire", "shared", "--ttl", str(TTL), "--guard", "fenced", "--run", *section
        ),
    }
    count = each * len(kinds)
    workers = []
    try:
        with client.watch() as lines, client.watch() as fenced:
            lines.create_prefix(b"shared/")
            fenced.create(b"fenced")
            # One of each kind in turn, so that no kind has the front of the line for itself.
            for _ in range(each):
                workers += [start[kind]() for kind in kinds]
            for process in workers:
                assert process.wait(timeout=240) == 0, process.all_lines()
            events = lines.events(2 * count, timeout=60)
            written = [event.kv.value for event in fenced.events(count, timeout=60)]
    finally:
        for process in workers:
            process.__exit__()
    violations = tmp_path / "violations"
    assert not violations.exists(), violations.read_text()
    assert (tmp_path / "count").read_text().strip() == str(count)
    assert written == [b"%d" % n for n in range(1, count + 1)]
    arrived = [event.kv.key.decode() for event in events if event.type == 0]
    assert len(set(arrived)) == count
    assert (tmp_path / "order").read_text().split() == arrived
    assert not inspect(client, b"shared").places
