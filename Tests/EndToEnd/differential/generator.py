"""Draws random requests. The key space is small so that requests collide, and every option is drawn now and then.

The draw depends on the seed and on the answers so far (current and compacted revision, live leases), never on time,
so that a seed repeats its run.
"""

import random

from harness.api import pb, prefix_end

MAX_TXN_OPS = 16
SENTINEL = b"sentinel"

_LONG = b"long/" + b"x" * 485  # 490 bytes: the lengths around it meet the limits of common key-value stores.


def _keys():
    keys = [b"\0", b"\0\0", b"\0\xff", b"\x01", b"\xff", b"\xff\xff", b"\xff\0"]
    keys += [b"a", b"a\0", b"a\0\0", b"a\x01", b"aa", b"ab", b"b", b"b\xff", b"b\xff\xff", b"c", b"z"]
    keys += [b"key/%d" % i for i in range(8)]
    for length in (489, 490, 491, 492, 510, 511, 512, 513, 536, 537, 538, 600):
        keys.append((_LONG + b"y" * 200)[:length])
    keys += [_LONG + b"\0", _LONG + b"\xff" * 20, _LONG + b"\xff" * 21 + b"\0", _LONG + b"\0" * 21, _LONG + b"\0" * 22]
    keys.append(b"huge" * 500)
    return keys


KEYS = _keys()
PREFIXES = [b"a", b"a\0", b"b", b"key/", b"long/", _LONG, _LONG + b"y" * 21, b"\0", b"\xff", b"\xff\xff", b"nothing"]
VALUES = [b"", b"1", b"2", b"3", b"\0", b"\xff\xff", b"value", b"v" * 100, bytes(range(256)), b"big" * 700]
CHOSEN_LEASES = [1, 2, 3, 4, 5, 77, 0x7FFFFFFFFFFFFFFF, -1, -9, -0x8000000000000000, 0x1234567890ABCDEF]
MISSING_LEASE = 4242


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.revision = 1
        self.compacted = 0
        self.leases = set()  # Ids as both servers see them, or symbols for ids that the servers picked.
        self.picked = set()  # The symbols among them.
        self.picked_attach = False

    # Small draws

    def chance(self, probability):
        return self.random.random() < probability

    def key(self):
        if self.chance(0.004):
            return b""
        return self.random.choice(KEYS)

    def range(self):
        draw = self.random.random()
        if draw < 0.45:
            return self.key(), b""
        if draw < 0.65:
            prefix = self.random.choice(PREFIXES)
            return prefix, prefix_end(prefix)
        if draw < 0.88:
            first, second = self.random.choice(KEYS), self.random.choice(KEYS)
            if first > second and self.chance(0.9):
                first, second = second, first
            return first, second
        if draw < 0.95:
            return self.random.choice(KEYS), b"\0"
        return b"\0", b"\0"

    def narrow_range(self):
        """Like `range`, but seldom everything: for deletes, so that something stays to be found."""
        key, end = self.range()
        if end == b"\0" and self.chance(0.8):
            return self.key(), b""
        return key, end

    def past_revision(self):
        return self.random.randint(max(1, self.compacted), self.revision)

    def any_revision(self):
        draw = self.random.random()
        if draw < 0.6:
            return 0
        if draw < 0.85:
            return self.past_revision()
        if draw < 0.9:
            return self.random.randint(max(1, self.compacted - 5), max(1, self.compacted + 1))
        if draw < 0.96:
            return self.revision + self.random.randint(0, 2)
        return self.random.choice([-1, -100, self.revision + 1000])

    def lease(self):
        draw = self.random.random()
        usable = self.leases if self.picked_attach else self.leases - self.picked
        if draw < 0.6 or not usable:
            return 0 if draw < 0.97 else MISSING_LEASE
        if draw < 0.97:
            return self.random.choice(sorted(usable))
        return MISSING_LEASE

    # Requests

    def put(self):
        request = pb.PutRequest(key=self.key(), value=self.random.choice(VALUES), lease=self.lease())
        request.prev_kv = self.chance(0.3)
        if self.chance(0.08):
            request.ignore_value = True
            if self.chance(0.85):
                request.value = b""
        if self.chance(0.08):
            request.ignore_lease = True
            if self.chance(0.85):
                request.lease = 0
        return request

    def delete(self):
        key, end = self.narrow_range()
        return pb.DeleteRangeRequest(key=key, range_end=end, prev_kv=self.chance(0.4))

    def read(self):
        key, end = self.range()
        request = pb.RangeRequest(key=key, range_end=end, revision=self.any_revision())
        request.serializable = self.chance(0.2)
        request.keys_only = self.chance(0.15)
        request.count_only = self.chance(0.1)
        if self.chance(0.35):
            request.limit = self.random.choice([1, 1, 2, 3, 5, 10, 1000, -1])
        if self.chance(0.35):
            request.sort_order = self.random.choice([0, 1, 2, 2])
            request.sort_target = self.random.randint(0, 4)
        for name in ("min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision"):
            if self.chance(0.06):
                setattr(request, name, self.random.randint(max(0, self.revision - 200), self.revision + 2))
        return request

    def compare(self):
        key, end = self.range() if self.chance(0.25) else (self.key(), b"")
        # Orders of ids that each server picked for itself cannot be equal.
        results = (0, 3) if self.picked else (0, 1, 2, 3)
        compare = pb.Compare(key=key, range_end=end, target=self.random.randint(0, 4))
        compare.result = self.random.choice(results if compare.target == 4 else (0, 1, 2, 3))
        arm = self.random.randint(0, 4) if self.chance(0.03) else compare.target
        if arm == 0:
            compare.version = self.random.choice([0, 1, 1, 2, 3, 10])
        elif arm == 1:
            compare.create_revision = self.random.choice([0, 0, 1, self.past_revision(), self.revision])
        elif arm == 2:
            compare.mod_revision = self.random.choice([0, 0, 1, self.past_revision(), self.revision])
        elif arm == 3:
            compare.value = self.random.choice(VALUES)
        elif compare.target == 4:
            compare.lease = self.lease()
        return compare

    def txn(self, depth=0):
        """A transaction, with one thing left out that ends etcd's process (3.4.23 and 3.5.1).

        It lets a put follow a delete of all keys from one on (`range_end` "\\0"), even when that key was deleted, and
        then panics when the put asks to keep the old value or lease.
        """
        request = self.any_txn(depth)
        if depth == 0 and any(op.range_end == b"\0" for op in operations(request, "request_delete_range")):
            for put in operations(request, "request_put"):
                put.ignore_value = put.ignore_lease = False
        return request

    def any_txn(self, depth):
        request = pb.TxnRequest()
        for _ in range(self.random.choice([0, 0, 1, 1, 1, 2, 3])):
            request.compare.append(self.compare())
        for branch in (request.success, request.failure):
            for _ in range(self.random.choice([0, 1, 1, 2, 3, 4])):
                branch.append(self.operation(depth))
        if depth == 0 and self.chance(0.02):
            # At the limit and just over it; distinct keys, so that only the count can be at fault.
            branch = self.random.choice([request.success, request.failure])
            del branch[:]
            for i in range(MAX_TXN_OPS + self.random.randint(-1, 1)):
                branch.append(pb.RequestOp(request_put=pb.PutRequest(key=KEYS[i], value=b"limit")))
        return request

    def operation(self, depth):
        draw = self.random.random()
        if draw < 0.5:
            return pb.RequestOp(request_put=self.put())
        if draw < 0.7:
            return pb.RequestOp(request_range=self.read())
        if draw < 0.85:
            return pb.RequestOp(request_delete_range=self.delete())
        if draw < 0.995 and depth < 2:
            return pb.RequestOp(request_txn=self.txn(depth + 1))
        return pb.RequestOp() if self.chance(0.05) else pb.RequestOp(request_range=self.read())

    def read_only_txn(self):
        request = pb.TxnRequest()
        for _ in range(self.random.randint(0, 2)):
            request.compare.append(self.compare())
        for branch in (request.success, request.failure):
            for _ in range(self.random.randint(1, 3)):
                branch.append(pb.RequestOp(request_range=self.read()))
        return request

    def compaction(self):
        draw = self.random.random()
        if draw < 0.75:
            revision = self.random.randint(max(1, self.compacted), self.revision)
        elif draw < 0.85:
            revision = self.revision
        else:
            revision = self.random.choice([0, -1, self.compacted, max(0, self.compacted - 1), self.revision + 1])
        return pb.CompactionRequest(revision=revision, physical=self.chance(0.3))

    def grant(self):
        # Far from expiring: nothing may depend on how long the run takes.
        ttl = self.random.choice([100_000, 200_000, 3_000_000, 9_000_000_000])
        if self.chance(0.03):
            ttl = 9_000_000_001
        return pb.LeaseGrantRequest(ID=self.random.choice(CHOSEN_LEASES), TTL=ttl)

    def some_lease(self):
        if self.leases and self.chance(0.85):
            return self.random.choice(sorted(self.leases))
        return self.random.choice([MISSING_LEASE, *CHOSEN_LEASES])

    def watch(self, used_ids):
        key, end = self.range()
        if key and self.chance(0.02):
            key, end = b"", self.random.choice([b"", b"\0", b"b"])
        request = pb.WatchCreateRequest(key=key, range_end=end)
        draw = self.random.random()
        if draw < 0.45:
            request.start_revision = 0
        elif draw < 0.75:
            request.start_revision = self.past_revision()
        elif draw < 0.85:
            request.start_revision = self.revision + self.random.randint(1, 30)
        elif self.compacted > 1:
            request.start_revision = self.random.randint(max(1, self.compacted - 10), self.compacted + 1)
        request.prev_kv = self.chance(0.4)
        request.fragment = self.chance(0.2)
        request.progress_notify = self.chance(0.1)
        if self.chance(0.2):
            request.filters.extend(self.random.choice([[0], [1], [0, 1], [1, 1]]))
        if self.chance(0.2):
            request.watch_id = self.random.choice([*sorted(used_ids), *range(1, 30), 1_000_000_007])
        return request


def operations(txn, arm):
    """All operations of one kind in a transaction, nested ones included."""
    for operation in (*txn.success, *txn.failure):
        if operation.WhichOneof("request") == "request_txn":
            yield from operations(operation.request_txn, arm)
        elif operation.WhichOneof("request") == arm:
            yield getattr(operation, arm)
