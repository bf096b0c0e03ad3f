"""Everything that may differ between two servers, as narrowly as it can be said. All else must be equal byte for byte.

Ever:
- Cluster and member ids and the raft term: each server has its own. Whether they are set must agree.
- Lease ids that the server picked (asked for with ID 0): each side's is replaced by a common symbol.
- Remaining time to live of a lease: read at different moments; may differ by SLACK_SECONDS.
- Order of LeaseTimeToLive's keys and of LeaseLeases among leases that fall due within moments of each other.
- HashKVResponse.hash_revision, a field of 3.6: may be absent, else it must be the revision that was hashed.
- Order of results within one value of the sort target, which is unspecified; with a limit, which of the last such
  group made it into the answer.
- etcd keeps the id of a watch that it cancelled as compacted taken until the stream ends. So a watch from a compacted
  revision never asks for an id of its own, and no other asks for the id that it got.
- Whether someone may ask for a range that ends at or before its key, which holds nothing, depends in etcd on how it came to
  store their permissions in a tree. Only root asks for one.
- etcd looks for a permission by its key alone, so that of two with one key it may leave the old one in force beside
  the new. A role has one permission a key (`Accounts.ends`).
- etcd forgets, at a restart, leases whose id is negative or the largest of all (it reads them back by a range that ends
  before those). So none is alive when both are restarted.

- Tokens: each server makes its own. They get a common symbol, and an answer shows only that there is one.
- The Date header, and others about the connection alone, of an answer over HTTP; the wording of Go's JSON decoder
  (`plain._EXACT` has what is compared all the same).

Known of Berth, and not asked for or not compared:
- A stream over HTTP that ends without an answer has the header Grpc-Metadata-Content-Type all the same.
- JSON cut off inside a literal (`nul`) is refused in other words than where it is cut off elsewhere.
- Who may call is looked at before the URLs of MemberAdd and before the size of a write. So root makes these calls.
- A transaction without compares and operations needs a user, as any other. etcd answers it to anyone.
- Nobody has no user's name, so UserGet without one needs a user, too. etcd takes nobody for the user of that name.

Only because the peer is etcd 3.4 (Debian's) or 3.5.1 while Berth follows late 3.5 (`Peer`):
- see the fields of `Peer`, one each.
"""

import dataclasses

from harness.api import pb

SLACK_SECONDS = 10


@dataclasses.dataclass(frozen=True)
class Peer:
    """What a peer's version is known not to do as late 3.5 does. A request that would show it is not sent."""

    # Before 3.5.16 compaction drops a tombstone that sits exactly at the compact revision, so that a watch from there
    # misses it. Such a watch starts one revision later instead.
    drops_tombstone_at_compact_revision: bool
    # 3.4 answers Alarm without a header, later versions with one. The header is left out of that comparison.
    alarm_without_header: bool
    # Early versions refuse HashKV at the compact revision itself, which Range and Watch allow. It is not asked for.
    refuses_hash_at_compact_revision: bool
    # 3.4 has no AuthStatus, and no Downgrade.
    lacks_auth_status: bool
    lacks_downgrade: bool
    # 3.4 looks whether the role exists before it misses the permission to be granted. One is always given.
    looks_for_role_before_permission: bool
    # Before 3.5.10 an unknown token is refused even while auth is off. None is sent then.
    rejects_unknown_tokens_while_off: bool
    # Before 3.5.9 anyone learns of a lease and its keys, and before 3.5.28 some other calls are
    # open to all, or judged by other rights. Then only root makes them.
    early_rights: bool
    # Before 3.5.10 the gateway has no route for HashKV. It is asked for over gRPC.
    lacks_hashkv_route: bool
    # /health has its `reason` from 3.5 on.
    health_without_reason: bool
    # Before 3.5.6 a watch that someone without a good token asks for is refused as one that is not permitted.
    hides_why_a_watch_was_refused: bool
    # Before 3.5.10 a deadline that passes in the server is an error of code Unknown.
    context_errors_are_unknown: bool
    # Before 3.5.8 a progress request is answered at once, later only when all watches of the stream are in sync. So it
    # is sent only when they are, and repeated until answered.
    # Before 3.5.24 a negative start_revision is taken for a compacted one. None is drawn.
    # Before 3.5.8 a role may be given an empty key or an empty range. None is drawn.
    # Before 3.5.33 a watch without an end is judged by its first key alone. None is asked for but by root.

    def judges_otherwise(self, method, request):
        """Whether late 3.5 and this version may give another answer to someone who is not root."""
        if method == "kv.Txn" and not (request.compare or request.success or request.failure):
            return True
        if method == "auth.UserGet" and not request.name:
            return True
        if any(key >= end > b"\0" for key, end in _ranges(request)):
            return True
        if not self.early_rights:
            return False
        # A put with a lease or with prev_kv needs more than WRITE on its key, which a transaction was not held to.
        return method in _OTHER_RIGHTS_EARLY or method == "kv.Txn" and any(
            operation.HasField("request_txn")
            or operation.HasField("request_put") and (operation.request_put.lease or operation.request_put.prev_kv)
            for operation in (*request.success, *request.failure)
        )


def _ranges(request):
    """The ranges that a request for KV names, those of all operations of a transaction too."""
    if isinstance(request, pb.TxnRequest):
        for compare in request.compare:
            yield compare.key, compare.range_end
        for operation in (*request.success, *request.failure):
            yield from _ranges(getattr(operation, operation.WhichOneof("request") or "", None))
    elif isinstance(request, (pb.RangeRequest, pb.DeleteRangeRequest)):
        yield request.key, request.range_end


# HashKV and others of Maintenance are here as their refusals changed their texts with each line of versions.
_OTHER_RIGHTS_EARLY = {
    "kv.Compact", "lease.LeaseGrant", "lease.LeaseRevoke", "lease.LeaseTimeToLive", "lease.LeaseLeases",
    "cluster.MemberList", "maintenance.Alarm", "maintenance.Status", "maintenance.MoveLeader",
    "maintenance.Downgrade",
}  # fmt: skip


def loses_writes_when_killed(version):
    """3.5.0 to 3.5.2 may come back from a kill without the last writes they answered (etcd's postmortem on the
    inconsistencies of 3.5). So one that takes Berth's place is stopped in order."""
    return version is not None and (3, 5) <= version < (3, 5, 3)


def answers_refused_watch_early(version):
    """Early 3.5 answers a watch that is not permitted with the id that was asked for; 3.4 and late 3.5 with -1."""
    return version is not None and (3, 5) <= version < (3, 5, 6)


def peer_for(version):
    parts = tuple(int(part) for part in version.split("-")[0].split("."))
    return Peer(
        drops_tombstone_at_compact_revision=parts < (3, 5, 18),
        alarm_without_header=parts < (3, 5),
        refuses_hash_at_compact_revision=parts < (3, 5, 5),
        lacks_auth_status=parts < (3, 5),
        lacks_downgrade=parts < (3, 5),
        looks_for_role_before_permission=parts < (3, 5),
        rejects_unknown_tokens_while_off=parts < (3, 5, 10),
        early_rights=parts < (3, 5, 28),
        lacks_hashkv_route=parts < (3, 5, 10),
        health_without_reason=parts < (3, 5),
        hides_why_a_watch_was_refused=parts < (3, 5, 6),
        context_errors_are_unknown=parts < (3, 5, 10),
    )


def survives_restart(lease_id):
    return 0 < lease_id < 0x7FFFFFFFFFFFFFFF


class Identity:
    """The ids of one server, learnt from its first header, and the leases it picked ids for."""

    def __init__(self):
        self.cluster_id = None
        self.member_id = None
        self.symbols = {}  # actual lease id → symbol
        self.actual = {}  # symbol → actual lease id

    def learn(self, header):
        self.cluster_id, self.member_id = header.cluster_id, header.member_id
        assert self.cluster_id and self.member_id and header.raft_term, header

    def name_lease(self, actual, symbol):
        self.symbols[actual] = symbol
        self.actual[symbol] = actual

    # Outgoing

    def translate(self, request):
        """The request with symbols replaced by this server's lease ids."""
        if not self.actual:
            return request
        copy = type(request)()
        copy.CopyFrom(request)
        self._translate(copy)
        return copy

    def _translate(self, message):
        if isinstance(message, pb.PutRequest):
            message.lease = self.actual.get(message.lease, message.lease)
        elif isinstance(message, (pb.LockRequest, pb.CampaignRequest)):
            message.lease = self.actual.get(message.lease, message.lease)
        elif isinstance(message, pb.TxnRequest):
            for compare in message.compare:
                if compare.WhichOneof("target_union") == "lease":
                    compare.lease = self.actual.get(compare.lease, compare.lease)
            for operation in (*message.success, *message.failure):
                arm = operation.WhichOneof("request")
                if arm in ("request_put", "request_txn"):
                    self._translate(getattr(operation, arm))
        elif hasattr(message, "ID"):
            message.ID = self.actual.get(message.ID, message.ID)

    # Incoming

    def header(self, header):
        """Ids that are this server's become 1; anything else stays and shows up as a difference."""
        if header.cluster_id == self.cluster_id:
            header.cluster_id = 1
        if header.member_id == self.member_id:
            header.member_id = 1
        header.raft_term = min(header.raft_term, 1)

    def key_values(self, kvs):
        if self.symbols:
            for kv in kvs:
                kv.lease = self.symbols.get(kv.lease, kv.lease)

    def answer(self, answer, request):
        """Rewrites an answer in place to what must be equal on both sides."""
        if "header" in answer.DESCRIPTOR.fields_by_name and answer.HasField("header"):
            self.header(answer.header)
        if isinstance(answer, pb.RangeResponse):
            self.key_values(answer.kvs)
            order_within_ties(answer, request)
        elif isinstance(answer, pb.PutResponse):
            if answer.HasField("prev_kv"):
                self.key_values([answer.prev_kv])
        elif isinstance(answer, pb.DeleteRangeResponse):
            self.key_values(answer.prev_kvs)
        elif isinstance(answer, pb.TxnResponse):
            branch = request.success if answer.succeeded else request.failure
            for operation, result in zip(branch, answer.responses):
                arm = result.WhichOneof("response")
                asked = operation.WhichOneof("request")
                if arm and asked:
                    self.answer(getattr(result, arm), getattr(operation, asked))
        elif isinstance(answer, pb.LeaseTimeToLiveResponse):
            answer.ID = self.symbols.get(answer.ID, answer.ID)
            keys = sorted(answer.keys)
            del answer.keys[:]
            answer.keys.extend(keys)
            if answer.grantedTTL - SLACK_SECONDS * 100 < answer.TTL <= answer.grantedTTL:
                answer.TTL = answer.grantedTTL  # Some of a very long time to live has passed.
        elif isinstance(answer, pb.LeaseLeasesResponse):
            ids = sorted(self.symbols.get(status.ID, status.ID) for status in answer.leases)
            for status, id in zip(answer.leases, ids):
                status.ID = id
        elif isinstance(answer, pb.HashKVResponse):
            if answer.hash_revision == (request.revision if request.revision > 0 else answer.header.revision):
                answer.hash_revision = 0
        elif isinstance(answer, pb.AuthenticateResponse):
            answer.token = "a token" if answer.token else ""
        elif hasattr(answer, "ID"):
            answer.ID = self.symbols.get(answer.ID, answer.ID)
        return answer


_SORT_FIELDS = {1: "version", 2: "create_revision", 3: "mod_revision", 4: "value"}


def order_within_ties(answer, request):
    """Puts results of an equal sort value in key order, and blanks those that a limit cut out of such a group."""
    field = _SORT_FIELDS.get(request.sort_target)
    if field is None or len(answer.kvs) == 0:
        return
    hidden = field == "value" and request.keys_only  # Sorted by something that the answer does not show.

    def sort_value(kv):
        return b"" if hidden else getattr(kv, field)

    kvs = list(answer.kvs)
    ordered = []
    while kvs:
        group = [kv for kv in kvs if sort_value(kv) == sort_value(kvs[0])]
        if kvs[: len(group)] != group:
            return  # Not sorted at all: leave it to be found.
        kvs = kvs[len(group) :]
        if not kvs and answer.more:  # A key that was cut may share the last sort value.
            blank = pb.KeyValue()
            if not hidden:
                setattr(blank, field, sort_value(group[0]))
            ordered.extend([blank] * len(group))
        else:
            ordered.extend(sorted(group, key=lambda kv: kv.key))
    del answer.kvs[:]
    answer.kvs.extend(ordered)
