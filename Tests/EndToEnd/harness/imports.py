"""What tests of `berth import` share: how it is called, and what is put into a source and found in a target."""

from .api import pb

REFUSED = 125
DIFFER = 1


def arguments(etcd, *more):
    return ("import", "--from-etcd", etcd.address, "--timeout", "60s", *more)


def fill(client, pairs):
    """Puts (key, value, lease) in transactions of at most a mebibyte."""
    ops, size = [], 0
    for key, value, lease in pairs:
        if ops and (len(ops) == 128 or size + len(key) + len(value) > 1 << 20):
            client.txn(success=ops)
            ops, size = [], 0
        ops.append(pb.RequestOp(request_put=pb.PutRequest(key=key, value=value, lease=lease)))
        size += len(key) + len(value)
    if ops:
        client.txn(success=ops)


def state(client, prefix=b""):
    answer = client.prefix(prefix) if prefix else client.range(b"\0", b"\0")
    return [(kv.key, kv.value, kv.lease) for kv in answer.kvs]
