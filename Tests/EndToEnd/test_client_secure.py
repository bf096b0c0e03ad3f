"""`berth`'s own commands against servers that ask for TLS, certificates and users. Most servers are etcd's, so that nobody
here agrees with himself; NEWER_ETCD names the binary of a further one."""

import os
import pty
import select
import subprocess
import time

import pytest

from harness.etcdctl import BINARY
from harness.server import Server
from harness.target import berth_binary
from harness.tls import Authority, SecureServer

pytestmark = pytest.mark.berth_only
ETCDS = ["etcd", *filter(None, [os.environ.get("NEWER_ETCD")])]
UNREACHABLE, FAILED = 122, 125


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="module")
def pair(authority):
    return authority.issue("server", "server")


def environment(**more):
    return {k: v for k, v in os.environ.items() if not k.startswith(("BERTH_", "ETCDCTL_"))} | more


def berth(*arguments, **variables):
    result = subprocess.run(
        [berth_binary(), *map(str, arguments)], capture_output=True, text=True, timeout=60, start_new_session=True,
        env=environment(**{name: str(value) for name, value in variables.items()}),
    )  # fmt: skip
    return result.returncode, result.stdout.strip(), result.stderr.strip()


@pytest.mark.parametrize("kind", [*ETCDS, "berth"])
def test_tls_options_and_variables(tmp_path, authority, pair, kind):
    stranger = Authority(tmp_path / "stranger", "another authority")
    mine = authority.issue("mine", "mine")
    server = SecureServer(
        tmp_path / "data", kind=kind, authority=authority, pair=pair, identity=mine, trusted_ca_file=authority.cert,
        client_cert_auth=True,
    )  # fmt: skip
    server.start()
    try:
        to = ["--endpoints", server.url, "--timeout", "2s"]
        shown = ["--cert", mine.cert, "--key", mine.key]
        assert berth("put", *to, "--cacert", authority.cert, *shown, "a", "1")[0] == 0
        variables = dict(
            BERTH_ENDPOINTS=server.url, BERTH_CACERT=authority.cert, BERTH_CERT=mine.cert, BERTH_KEY=mine.key
        )
        assert berth("get", "--values-only", "a", **variables) == (0, "1", "")
        assert berth("get", "--values-only", *to, *shown, "--insecure-skip-tls-verify", "a") == (0, "1", "")
        without = {name: value for name, value in variables.items() if name != "BERTH_CACERT"}
        assert berth("get", "--values-only", "a", BERTH_INSECURE_SKIP_TLS_VERIFY="true", **without) == (0, "1", "")
        code, _, line = berth("get", "--values-only", *to, "--cacert", stranger.cert, *shown, "a")
        assert code == UNREACHABLE and "not trusted" in line, line
        code, _, line = berth("get", "--values-only", *to, "--cacert", authority.cert, "a")
        assert code == UNREACHABLE and line.startswith("berth: "), line
        code, _, line = berth("get", "--values-only", *to, "--cacert", authority.cert, "--cert", mine.cert, "a")
        assert code == FAILED and "--cert and --key belong together" in line
        code, _, line = berth("get", "--values-only", *to, "--cacert", tmp_path / "nothing", "a")
        assert code == FAILED and "nothing" in line, line
        code, _, line = berth("get", "--values-only", "a", BERTH_INSECURE_SKIP_TLS_VERIFY="perhaps")
        assert code == FAILED and "BERTH_INSECURE_SKIP_TLS_VERIFY" in line
        # A command under a lock reaches the same server.
        inner = [berth_binary(), "get", "--values-only", "a"]
        code, out, line = berth("lock", *to, "--cacert", authority.cert, *shown, "job", "--", *inner)
        assert (code, out) == (0, "1"), line
    finally:
        server.kill()


@pytest.fixture(params=ETCDS)
def guarded(request, tmp_path):
    """An etcd with users: root, and alice, who may do everything below `a/`."""
    server = Server(tmp_path / "data", kind=request.param).start()

    def etcdctl(*arguments):
        command = [BINARY, "--endpoints", server.url, *arguments]
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env=environment(ETCDCTL_API="3")
        )
        assert result.returncode == 0, result.stderr

    etcdctl("user", "add", "root:root-word")
    etcdctl("user", "grant-role", "root", "root")
    etcdctl("role", "add", "a")
    etcdctl("role", "grant-permission", "a", "readwrite", "a/", "--prefix")
    etcdctl("user", "add", "alice:a:word")
    etcdctl("user", "grant-role", "alice", "a")
    etcdctl("auth", "enable")
    server.etcdctl = lambda *arguments: etcdctl("--user", "root:root-word", *arguments)
    yield server
    server.kill()


def test_users_and_passwords(guarded):
    to = ["--endpoints", guarded.url]
    assert berth("put", *to, "--user", "alice:a:word", "a/1", "x")[0] == 0
    assert berth("get", "--values-only", *to, "a/1", BERTH_USER="alice:a:word") == (0, "x", "")
    assert berth("get", "--values-only", *to, "a/1", BERTH_USER="alice", BERTH_PASSWORD="a:word") == (0, "x", "")
    assert berth("get", "--values-only", *to, "--user", "alice", "--password", "a:word", "a/1") == (0, "x", "")
    # A user with a password on the command line is not given the environment's.
    assert berth("get", "--values-only", *to, "--user", "root:root-word", "a/1", BERTH_PASSWORD="a:word") == (0, "x", "")
    code, _, line = berth("get", "--values-only", *to, "--user", "alice:word", "a/1")
    assert code == FAILED and "user name or password is wrong" in line
    code, _, line = berth("get", "--values-only", *to, "--user", "alice:a:word", "b")
    assert code == FAILED and "permission" in line
    code, _, line = berth("get", "--values-only", *to, "a/1")
    assert code == FAILED and "user name" in line
    code, _, line = berth("get", "--values-only", *to, "--user", "alice:a:word", "--password", "a:word", "a/1")
    assert code == FAILED and "--password" in line
    code, _, line = berth("get", "--values-only", *to, "--password", "a:word", "a/1")
    assert code == FAILED and "--user" in line
    code, _, line = berth("get", "--values-only", *to, "--user", "alice", "a/1")
    assert code == FAILED and "no terminal" in line
    code, out, line = berth("lock", *to, "--user", "alice", "--password", "a:word", "a/job", "--", "true")
    assert code == 0, line


def at_terminal(arguments, answer):
    """Runs a command at a terminal of its own and types `answer` when asked."""
    child, terminal = pty.fork()
    if child == 0:
        os.execve(berth_binary(), [berth_binary(), *arguments], environment())
    shown, typed = b"", False
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            chunk = os.read(terminal, 4096)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
        if not typed and b"Password of alice: " in shown:
            typed = True
            os.write(terminal, answer)
    os.close(terminal)  # Ends the command, should it still wait for an answer.
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), shown.decode()


def test_a_password_is_asked_for_at_the_terminal_and_not_shown(guarded):
    get = ["get", "--values-only", "--endpoints", guarded.url, "--user", "alice", "a/1"]
    assert berth("put", "--endpoints", guarded.url, "--user", "alice:a:word", "a/1", "value")[0] == 0
    code, shown = at_terminal(get, b"a:word\n")
    assert code == 0 and "value" in shown and "a:word" not in shown, shown
    code, shown = at_terminal(get, b"\x03")
    assert code == FAILED and "no password" in shown, shown


def test_a_token_that_is_not_known_any_more_is_renewed(guarded):
    """A watch and a lock live on while users are changed and tokens forgotten."""
    to = ["--endpoints", guarded.url, "--user", "alice:a:word"]
    script = f"read line; exec {berth_binary()} put --endpoints {guarded.url} --user alice:a:word a/after done"
    holder = subprocess.Popen(
        [berth_binary(), "lock", *to, "a/job", "--ttl", "3s", "--no-guard", "--", "sh", "-c", f"echo held; {script}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == "held\n"
        # Every user change raises the revision tokens are held against; a disabled auth forgets them all.
        guarded.etcdctl("user", "add", "carol:c")
        guarded.etcdctl("auth", "disable")
        subprocess.run(
            [BINARY, "--endpoints", guarded.url, "auth", "enable"], env=environment(ETCDCTL_API="3"), check=True,
            capture_output=True, timeout=60,
        )  # fmt: skip
        time.sleep(4)  # Longer than the lock's lease: only renewals under a new token keep it.
        out, errors = holder.communicate("go on\n", timeout=60)
        assert holder.returncode == 0, errors
    finally:
        if holder.poll() is None:
            holder.kill()
        holder.wait()
    assert berth("get", "--values-only", *to, "a/after") == (0, "done", "")
