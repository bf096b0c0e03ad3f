"""One worker as a process of its own, so that it can be stopped, resumed and killed.

    python -m harness.worker ADDRESS acquire|service|campaign NAME [--ttl SECONDS] [--owner LABEL] [--guard KEY]
                             [--run COMMAND…]

It stands in line, prints `holds KEY TOKEN LEASE` when its turn comes, and keeps its lease alive until it ends. Then it
follows lines on its input and answers each with one line:

    put KEY VALUE    a write under its proof: `succeeded REVISION`, `lost`, or `failed CODE TEXT`
    release          `released`, or `lost`; also the end

With --run it runs the command once instead, with LOCK_KEY and LOCK_TOKEN in its environment, and gives the lock back.
"""

import argparse
import os
import subprocess
import sys
import threading

import grpc

from . import locks
from .api import berth, pb
from .client import Client, Stream, StreamEnded


def say(*words):
    print(*words, flush=True)


def by_service(client, options):
    """etcd's Lock service, with a lease of the worker's own; returns the place as a handle."""
    lease = client.grant(options.ttl).ID
    keep_alive(client, lease, options.ttl)
    request = pb.LockRequest(name=options.name.encode(), lease=lease)
    key = client.lock.Lock(request, timeout=locks.FOREVER).key
    (kv,) = client.range(key).kvs
    return berth.Handle(name=request.name, key=key, token=kv.create_revision, lease=lease, ttl=options.ttl)


def by_acquire(client, options):
    guards = [locks.guard(key.encode()) for key in options.guard]
    answer = locks.acquire(
        client, options.name.encode(), ttl=options.ttl, owner=options.owner, guards=guards
    )
    keep_alive(client, answer.handle.lease, options.ttl)
    return answer.handle


def by_campaign(client, options):
    answer = locks.campaign(client, options.name.encode(), options.owner.encode(), ttl=options.ttl)
    keep_alive(client, answer.leader.lease, options.ttl)
    return answer.leader


def keep_alive(client, lease, ttl):
    """Renews in the background, three times in a time to live, until the lease is gone or the process ends."""

    def run():
        stream = Stream(client.lease.LeaseKeepAlive)
        try:
            while True:
                stream.send(pb.LeaseKeepAliveRequest(ID=lease))
                if stream.next(timeout=3600).TTL <= 0:
                    return
                pause.wait(ttl / 3)
        except (StreamEnded, TimeoutError, grpc.RpcError):
            pass  # The worker says what it finds at its next write.

    pause = threading.Event()
    threading.Thread(target=run, daemon=True).start()


def give_back(client, handle, by):
    if by == "service":
        client.lock.Unlock(pb.UnlockRequest(key=handle.key), timeout=locks.TIMEOUT)
        return True
    if by == "campaign":
        return locks.resign(client, handle).resigned
    return locks.release(client, handle).released


def follow(client, handle, by):
    for line in sys.stdin:
        word, *rest = line.split()
        try:
            if word == "put":
                key, value = rest
                answer = locks.fenced(client, handle, locks.put_op(key.encode(), value.encode()))
                say(*(("succeeded", answer.header.revision) if answer.succeeded else ("lost",)))
            elif word == "release":
                say("released" if give_back(client, handle, by) else "lost")
                return
            else:
                say("failed", "unknown", word)
        except grpc.RpcError as error:
            say("failed", error.code().name, error.details())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("by", choices=["acquire", "service", "campaign"])
    parser.add_argument("name")
    parser.add_argument("--ttl", type=int, default=60)
    parser.add_argument("--owner", default="")
    parser.add_argument("--guard", action="append", default=[])
    parser.add_argument("--run", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    enter = {"acquire": by_acquire, "service": by_service, "campaign": by_campaign}[options.by]
    with Client(options.address) as client:
        handle = enter(client, options)
        if options.run:
            environment = {"LOCK_KEY": handle.key.decode(), "LOCK_TOKEN": str(handle.token)}
            done = subprocess.run(options.run, env=os.environ | environment)
            give_back(client, handle, options.by)
            sys.exit(done.returncode)
        say("holds", handle.key.decode(), handle.token, handle.lease)
        follow(client, handle, options.by)


if __name__ == "__main__":
    main()
