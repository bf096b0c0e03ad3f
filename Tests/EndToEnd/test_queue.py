"""The two things that a coordination store is for, at size and with real clients: a queue at a lock, and a history that
is replayed while it grows.
"""

import os
import signal
import threading
import time

from harness.api import pb

EVENTS = int(os.environ.get("BERTH_TEST_EVENTS", "100000"))


def test_ten_processes_count_to_ten_in_order_of_arrival(etcdctl, client, tmp_path):
    count, order = tmp_path / "count", tmp_path / "order"
    count.write_text("0")
    # Read, wait a moment, write: two at a time would lose a step.
    step = f'n=$(cat {count}); sleep 0.05; echo $((n + 1)) > {count}; echo "$ETCD_LOCK_KEY" >> {order}'
    with client.watch() as watch:
        watch.create_prefix(b"counter/")
        workers = [etcdctl.start("lock", "counter", "--", "sh", "-c", step) for _ in range(10)]
        for worker in workers:
            assert worker.wait(timeout=60) == 0, worker.all_lines()
        events = watch.events(20)
    arrived = [event.kv.key.decode() for event in events if event.type == 0]
    assert count.read_text().strip() == "10"
    assert order.read_text().split() == arrived
    assert client.prefix(b"counter/").count == 0


def test_a_killed_holder_hands_over_after_its_time_to_live(etcdctl, client):
    ttl = 3
    with etcdctl.start("lock", "--ttl", str(ttl), "counter") as holder:
        key = holder.line()
        with etcdctl.start("lock", "--ttl", str(ttl), "counter") as waiter:
            client.await_keys(b"counter/", 2)
            holder.signal(signal.SIGKILL)
            holder.wait()
            # It renews no more: what is left of its lease now is how long the others wait.
            killed = time.monotonic()
            left = client.time_to_live(int(key.split("/")[1], 16)).TTL
            next_key = waiter.line(timeout=60)
            took = time.monotonic() - killed
            assert next_key.startswith("counter/") and next_key != key
            assert left <= took <= ttl + 10, f"handed over after {took:.1f} s, with {left} s left of {ttl} s"
            waiter.signal(signal.SIGINT)
            waiter.wait()
    print(f"handed over {took:.1f} s after the kill, time to live {ttl} s")


def test_a_history_is_replayed_in_order_while_sixteen_writers_go_on(server, etcdctl, client):
    order = fill(client)
    filled = client.revision()
    written = {}  # revision → (key, value), as acknowledged
    enough = threading.Event()

    def write(number):
        with server.client() as own:
            i = 0
            while not enough.is_set():
                key, value = f"queue/writer-{number:02}", str(i)
                answer = own.put(key.encode(), value.encode())
                written[answer.header.revision] = (key, value)
                i += 1

    writers = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for writer in writers:
        writer.start()
    began = time.monotonic()
    try:
        with etcdctl.start("watch", "queue/", "--prefix", "--rev", "1") as watch:
            for i in order:
                assert watch.lines(3, timeout=60) == ["PUT", f"queue/{i:06}", str(i)]
            took = time.monotonic() - began
            enough.set()
            for writer in writers:
                writer.join()
            assert sorted(written) == list(range(filled + 1, filled + 1 + len(written)))
            for revision in sorted(written):
                assert watch.lines(3, timeout=60) == ["PUT", *written[revision]]
    finally:
        enough.set()
        for writer in writers:
            writer.join()
    print(f"{EVENTS} events replayed in {took:.1f} s beside {len(written)} puts by 16 writers, which followed in order")


def fill(client):
    """Makes EVENTS events, a fifth of them one to a revision, the rest a hundred; returns their numbers in order."""
    single = EVENTS // 5
    by_revision = {}
    for start in range(0, single, 200):
        batch = range(start, min(start + 200, single))
        calls = [client.kv.Put.future(pb.PutRequest(key=b"queue/%06d" % i, value=b"%d" % i), timeout=60) for i in batch]
        for i, call in zip(batch, calls):
            by_revision[call.result().header.revision] = i  # Calls of one connection may overtake each other.
    order = [by_revision[revision] for revision in sorted(by_revision)]
    for start in range(single, EVENTS, 100):
        batch = range(start, min(start + 100, EVENTS))
        puts = [pb.RequestOp(request_put=pb.PutRequest(key=b"queue/%06d" % i, value=b"%d" % i)) for i in batch]
        client.txn(success=puts, timeout=60)
        order.extend(batch)
    return order
