"""Users, roles, permissions and tokens: who exists, who calls, and the operations that change it."""

import collections
import dataclasses
import re

from harness.api import pb
from .normalise import answers_refused_watch_early
from .peers import version_of

ROOT, ROOT_PASSWORD = "root", "root's password"
USERS = ["alice", "bob", "carol", "dave", "ünïcode", "with space", ROOT]
ROLES = ["readers", "writers", "everything", "odd/role", ROOT]
PASSWORDS = ["secret", "other", "", "pässword", "x" * 72]
MISSING = "nobody"
TOKENS_KEPT = 24
FRESH = 3_000  # Operations after which a token is not used any more: etcd 3.4 ends those idle for five minutes.


@dataclasses.dataclass(frozen=True)
class Caller:
    """Who makes a call: the symbol of a token (None: nobody), and the header it travels in."""

    token: str | None = None
    header: str = "token"


NOBODY = Caller()
UNKNOWN_TOKEN = "unknown"


class Accounts:
    """What the draw needs to know: the answers so far say whether a change was made."""

    def __init__(self, random):
        self.random = random
        self.enabled = False
        self.passwords = {}  # user → password, None for a user without one
        self.tokens = collections.deque(maxlen=TOKENS_KEPT)  # (symbol, user, operation)
        self.root = NOBODY
        self.count = 0
        self.ends = {}  # (role, key) → the one end that the role's permission of the key has

    def chance(self, probability):
        return self.random.random() < probability

    def user(self):
        return self.random.choice(USERS) if self.chance(0.95) else self.random.choice([MISSING, ""])

    def role(self):
        return self.random.choice(ROLES) if self.chance(0.95) else self.random.choice([MISSING, ""])

    def caller(self, method, request, rules, now):
        """Someone for a call whose right to it the two versions judge alike."""
        if not self.enabled:
            if rules.rejects_unknown_tokens_while_off or not self.tokens or self.chance(0.9):
                return NOBODY
            return Caller(self.random.choice([token for token, _, _ in self.tokens]), self.header())
        # An empty transaction has nothing to check: etcd answers it for nobody, which Berth does not.
        is_empty = method == "kv.Txn" and not (request.compare or request.success or request.failure)
        if self.chance(0.5) or is_empty or rules.judges_otherwise(method, request):
            return dataclasses.replace(self.root, header=self.header())
        draw = self.random.random()
        fresh = [token for token, _, made in self.tokens if made > now - FRESH]
        if draw < 0.9 and fresh:
            return Caller(self.random.choice(fresh), self.header())
        return NOBODY if draw < 0.95 else Caller(UNKNOWN_TOKEN, self.header())

    def header(self):
        return "token" if self.chance(0.7) else "authorization"

    def new_symbol(self, user):
        self.count += 1
        return f"{user}/{self.count}"

    def draw_authenticate(self):
        known = sorted(self.passwords)
        user = self.random.choice(known) if known and self.chance(0.8) else self.user()
        password = self.passwords.get(user) or ""
        if self.chance(0.15):
            password = self.random.choice(PASSWORDS)
        return pb.AuthenticateRequest(name=user, password=password)

    def draw_change(self, range_of):
        """A request for Auth that is no Authenticate, Enable or Disable, with its method."""
        kinds = {
            "UserAdd": 12, "UserGet": 4, "UserList": 3, "UserDelete": 3, "UserChangePassword": 4, "UserGrantRole": 16,
            "UserRevokeRole": 4, "RoleAdd": 8, "RoleGet": 5, "RoleList": 3, "RoleDelete": 2, "RoleGrantPermission": 24,
            "RoleRevokePermission": 6, "AuthStatus": 3, "AuthEnable": 1,
        }  # fmt: skip
        kind = self.random.choices(list(kinds), list(kinds.values()))[0]
        return f"auth.{kind}", getattr(self, f"_{kind}")(range_of)

    def _UserAdd(self, _):
        request = pb.AuthUserAddRequest(name=self.user())
        if self.chance(0.2):
            request.options.no_password = True
        else:
            request.password = self.random.choice(PASSWORDS)
            if self.chance(0.2):
                request.options.no_password = False
        return request

    def _UserGet(self, _):
        return pb.AuthUserGetRequest(name=self.user())

    def _UserList(self, _):
        return pb.AuthUserListRequest()

    def _UserDelete(self, _):
        return pb.AuthUserDeleteRequest(name=self.user())

    def _UserChangePassword(self, _):
        # Root's would end the token that everything else goes by.
        name = self.random.choice([user for user in (*USERS, MISSING) if user != ROOT])
        return pb.AuthUserChangePasswordRequest(name=name, password=self.random.choice(PASSWORDS))

    def _UserGrantRole(self, _):
        return pb.AuthUserGrantRoleRequest(user=self.user(), role=self.role())

    def _UserRevokeRole(self, _):
        return pb.AuthUserRevokeRoleRequest(name=self.user(), role=self.role())

    def _RoleAdd(self, _):
        return pb.AuthRoleAddRequest(name=self.role())

    def _RoleGet(self, _):
        return pb.AuthRoleGetRequest(role=self.role())

    def _RoleList(self, _):
        return pb.AuthRoleListRequest()

    def _RoleDelete(self, _):
        return pb.AuthRoleDeleteRequest(role=self.role())

    def _RoleGrantPermission(self, range_of):
        request = pb.AuthRoleGrantPermissionRequest(name=self.role())
        if self.chance(0.97):
            key, end = range_of()
            request.perm.key, request.perm.range_end = key, self.ends.setdefault((request.name, key), end)
            request.perm.permType = self.random.choice([0, 1, 2, 2])
        return request

    def _RoleRevokePermission(self, range_of):
        role = self.role()
        key, end = range_of()
        granted = [(key, end) for (to, key), end in self.ends.items() if to == role]
        if granted and self.chance(0.5):
            key, end = self.random.choice(granted)
        return pb.AuthRoleRevokePermissionRequest(role=role, key=key, range_end=end)

    def _AuthStatus(self, _):
        return pb.AuthStatusRequest()

    def _AuthEnable(self, _):
        return pb.AuthEnableRequest()

    def changed(self, method, request):
        """A change was answered without an error."""
        if method == "auth.UserAdd":
            self.passwords[request.name] = None if request.options.no_password else request.password
        elif method == "auth.UserDelete":
            self.passwords.pop(request.name, None)
        elif method == "auth.UserChangePassword":
            self.passwords[request.name] = request.password


class AuthOperations:
    """The part of a run that is about accounts."""

    def authenticate(self, request):
        """Both sides' tokens get one symbol, which is returned; or the error."""
        answer = self.both("auth.Authenticate", request, NOBODY)
        if isinstance(answer, tuple):
            return answer
        symbol = self.accounts.new_symbol(request.name)
        for side in self.sides:
            side.tokens[symbol] = side.new_token
        return symbol

    def do_authenticate(self):
        request = self.accounts.draw_authenticate()
        symbol = self.authenticate(request)
        if not isinstance(symbol, tuple):
            self.accounts.tokens.append((symbol, request.name, self.number))

    def do_auth_change(self):
        method, request = self.accounts.draw_change(self.permission_range)
        if method == "auth.AuthStatus" and self.rules.lacks_auth_status:
            method, request = "auth.RoleList", pb.AuthRoleListRequest()
        if method == "auth.RoleGrantPermission" and self.rules.looks_for_role_before_permission:
            request.perm.SetInParent()
        answer = self.both(method, request)
        if isinstance(answer, tuple):
            return
        self.accounts.changed(method, request)
        if method == "auth.AuthEnable" and not self.accounts.enabled:
            self.auth_switched(True)

    def permission_range(self):
        key, end = self.draw.range()
        # Before 3.5.8 a role may be given an empty key or range, which is refused later.
        key = key or b"a"
        return (key, b"") if end != b"\0" and end and end <= key else (key, end)

    def do_auth_switch(self):
        if self.accounts.enabled:
            if self.draw.chance(0.5):
                return  # On is where the difficulties are.
            self.both("auth.AuthDisable", pb.AuthDisableRequest(), self.accounts.root)
            return self.auth_switched(False)
        self.both("auth.UserDelete", pb.AuthUserDeleteRequest(name=ROOT), NOBODY)  # It may be one without a password.
        self.both("auth.UserAdd", pb.AuthUserAddRequest(name=ROOT, password=ROOT_PASSWORD), NOBODY)
        self.accounts.passwords[ROOT] = ROOT_PASSWORD
        self.both("auth.UserGrantRole", pb.AuthUserGrantRoleRequest(user=ROOT, role=ROOT), NOBODY)
        self.both("auth.AuthEnable", pb.AuthEnableRequest(), NOBODY)
        self.auth_switched(True)

    def auth_switched(self, enabled):
        """Watches were opened under what was before: they are compared to their ends, and opened anew."""
        self.accounts.enabled = enabled
        self.accounts.tokens.clear()
        self.accounts.root = NOBODY
        self.counts["auth on" if enabled else "auth off"] += 1
        self.log_in()
        self.sync()
        self.history.open.clear()
        for side in self.sides:
            side.disconnect()
        self.connect()
        for _ in range(4 if enabled else 0):
            self.do_authenticate()

    def log_in(self):
        """Takes a token for root, by which everything goes that must succeed."""
        if not self.accounts.enabled:
            return
        request = pb.AuthenticateRequest(name=ROOT, password=self.accounts.passwords[ROOT])
        symbol = self.authenticate(request)
        if isinstance(symbol, tuple):
            raise AssertionError(f"root cannot authenticate: {symbol}")
        self.accounts.root = Caller(symbol)

    def do_watch_refused(self):
        """A watch by someone who may not be allowed it, on a stream of its own."""
        fresh = [token for token, _, made in self.accounts.tokens if made > self.number - FRESH]
        key, end = self.draw.range()
        # A watch with no end was judged by its first key alone before 3.5.33.
        if not self.accounts.enabled or not fresh or end == b"\0" or not key:
            return
        caller = Caller(self.draw.random.choice(fresh))
        request = pb.WatchRequest(create_request=pb.WatchCreateRequest(key=key, range_end=end))
        self.what = (f"watch create by {caller.token}", request)
        streams = [side.watch_stream(caller) for side in self.sides]
        try:
            for stream in streams:
                stream.send(request)
            answers = [side.identity.answer(s.next(), request) for side, s in zip(self.sides, streams)]
            for side, answer in zip(self.sides, answers):
                if answer.canceled and answers_refused_watch_early(version_of(side.server.kind)):
                    answer.watch_id = -1
                if answer.canceled and self.rules.hides_why_a_watch_was_refused:
                    answer.cancel_reason = re.sub("code = .*", "some reason", answer.cancel_reason)
        finally:
            for stream in streams:
                stream.cancel()
        if answers[0] != answers[1]:
            self.differ(*answers)
        if answers[0].canceled:
            self.errors[f"watch refused: {answers[0].cancel_reason}"] += 1
