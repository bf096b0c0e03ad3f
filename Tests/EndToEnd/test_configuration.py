"""How `berth serve` is told its settings: flags, variables, a config file, etcd's spellings, and what is refused."""

import json
import os
import pathlib
import re
import socket
import subprocess

import pytest

from harness.etcdctl import Etcdctl
from harness.server import free_port
from harness.target import berth_binary

pytestmark = pytest.mark.berth_only
DOCUMENT = pathlib.Path(__file__).parents[2] / "docs/configuration.md"
ETCD_FLAGS = pathlib.Path(__file__).with_name("etcd_flags.txt")
USAGE = 64


def serve(*flags, timeout=60, **variables):
    """`berth serve` run to its end, with no variables but these."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("BERTH_", "ETCD_"))}
    return subprocess.run(
        [berth_binary(), "serve", *flags], capture_output=True, text=True, timeout=timeout, env=plain | variables
    )


def refused(*flags, **variables):
    """The one line with which a start is refused."""
    done = serve(*flags, **variables)
    assert done.returncode == USAGE and done.stdout == "", done
    (line,) = done.stderr.splitlines()
    assert line.startswith("berth: "), line
    return line.removeprefix("berth: ")


def effective(*flags, **variables):
    """name → (value, source), as `--check-config` shows them, and the notices."""
    done = serve("--check-config", *flags, **variables)
    assert done.returncode == 0 and done.stderr == "", done
    settings, notices = {}, []
    for line in done.stdout.splitlines():
        if line.startswith("# "):
            notices.append(line.removeprefix("# "))
        else:
            name, rest = line.split(": ", 1)
            value, source = rest.rsplit("  # ", 1)
            settings[name] = (json.loads(value), source)
    return settings, notices


@pytest.fixture
def config_file(tmp_path):
    def write(text, name="berth.yml"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


# Precedence


def test_a_flag_a_variable_a_file_and_a_default(config_file):
    path = config_file("name: from-file\nmax-txn-ops: 7\nmax-request-bytes: 1000\n")
    settings, notices = effective(
        "--config-file", path, "--name", "from-flag", BERTH_NAME="from-variable", BERTH_MAX_TXN_OPS="8"
    )
    assert settings["name"] == ("from-flag", "--name")
    assert settings["max-txn-ops"] == (8, "BERTH_MAX_TXN_OPS")
    assert settings["max-request-bytes"] == (1000, f"{path}, line 3")
    assert settings["bcrypt-cost"] == (10, "default")
    assert "notice: --name: 'from-flag' (--name) is used, not 'from-variable' (BERTH_NAME)" in notices


def test_etcds_variables_are_read():
    settings, notices = effective(ETCD_NAME="infra0", ETCD_AUTO_COMPACTION_RETENTION="1h", ETCDCTL_API="3")
    assert settings["name"] == ("infra0", "ETCD_NAME")
    assert settings["auto-compaction-retention"] == ("1h", "ETCD_AUTO_COMPACTION_RETENTION")
    assert notices == []


def test_with_a_config_file_etcds_variables_are_not_read(config_file):
    settings, notices = effective("--config-file", config_file("name: file"), ETCD_NAME="x", ETCD_DATA_DIR="/x")
    assert settings["name"][0] == "file" and settings["data-dir"] == ("berth-data", "default")
    assert notices == [
        "warning: not read, as there is a config file: ETCD_DATA_DIR, ETCD_NAME; BERTH_ variables are"
    ]


@pytest.mark.parametrize(
    ("flags", "variables", "named"),
    [
        ([], {"BERTH_NAME": "a", "ETCD_NAME": "b"}, ["--name", "'a' (BERTH_NAME)", "'b' (ETCD_NAME)"]),
        (["--name", "a"], {"ETCD_NAME": "b"}, ["--name", "'a' (--name)", "'b' (ETCD_NAME)"]),
        (["--name", "a", "--name=b"], {}, ["--name", "'a'", "'b'"]),
        (
            ["--watch-progress-notify-interval=1s", "--experimental-watch-progress-notify-interval", "2s"],
            {},
            ["--watch-progress-notify-interval", "'1s'", "'2s'"],
        ),
        (["--cert-file", "c"], {}, ["--cert-file", "--key-file"]),
        (["--key-file", "c"], {}, ["--cert-file", "--key-file"]),
        (["--client-cert-auth"], {}, ["--client-cert-auth", "--trusted-ca-file"]),
        (["--cert-file=c", "--key-file=k", "--client-cert-auth"], {}, ["--client-cert-auth", "--trusted-ca-file"]),
        (["--trusted-ca-file", "c"], {}, ["--trusted-ca-file", "--cert-file"]),
        (
            ["--cert-file=c", "--key-file=k", "--trusted-ca-file=a", "--client-cert-auth", "--client-cert-optional"],
            {},
            ["--client-cert-auth", "--client-cert-optional"],
        ),
        (["--listen-client-urls", "https://127.0.0.1:1"], {}, ["--listen-client-urls", "--cert-file"]),
        (
            ["--cert-file=c", "--key-file=k", "--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"],
            {},
            ["--tls-min-version", "--tls-max-version"],
        ),
        ([], {"BERTH_CERT_FILE": "c"}, ["--cert-file", "BERTH_CERT_FILE", "--key-file"]),
    ],
)
def test_contradictions_are_refused_by_name(flags, variables, named):
    line = refused(*flags, **variables)
    for word in named:
        assert word in line, line


def test_the_same_value_twice_is_fine():
    settings, notices = effective("--grpc-keepalive-interval=60s", ETCD_GRPC_KEEPALIVE_INTERVAL="1m")
    assert settings["grpc-keepalive-interval"] == ("60s", "--grpc-keepalive-interval") and notices == []


# Names


@pytest.mark.parametrize(
    ("flag", "meant"),
    [
        ("--data_dir", "--data-dir"),
        ("--listen-client-url", "--listen-client-urls"),
        ("--max-txn-opps", "--max-txn-ops"),
        ("--certfile", "--cert-file"),
        ("--experimental-watch-progress-notify", None),
    ],
)
def test_an_unknown_flag_is_refused_with_the_nearest_name(flag, meant):
    line = refused(f"{flag}=x")
    assert line.startswith(f"unknown flag {flag}")
    assert meant is None or line.endswith(f"did you mean {meant}?")


def test_unknown_variables(config_file):
    assert refused(BERTH_DATADIR="/x") == "unknown environment variable BERTH_DATADIR; did you mean BERTH_DATA_DIR?"
    assert effective(ETCD_NONSENSE="1")[1] == ["warning: ETCD_NONSENSE is not known and has no effect"]
    assert effective(ETCD_FLUSH_BYTES="1")[1] == ["warning: ETCD_FLUSH_BYTES is not known and has no effect"]


def test_a_kubernetes_service_called_berth_does_no_harm():
    variables = {
        "BERTH_SERVICE_HOST": "10.0.0.1",
        "BERTH_SERVICE_PORT": "2379",
        "BERTH_SERVICE_PORT_CLIENT": "2379",
        "BERTH_PORT": "tcp://10.0.0.1:2379",
        "BERTH_PORT_2379_TCP": "tcp://10.0.0.1:2379",
        "BERTH_PORT_2379_TCP_PROTO": "tcp",
        "BERTH_PORT_2379_TCP_PORT": "2379",
        "BERTH_PORT_2379_TCP_ADDR": "10.0.0.1",
        "BERTH_OPS_PORT_9090_TCP_ADDR": "10.0.0.1",
        "ETCD_SERVICE_HOST": "10.0.0.1",
    }
    assert effective(**variables)[1] == []


def test_client_variables_are_left_to_the_client_commands():
    assert effective(BERTH_ENDPOINTS="h:1", BERTH_USER="root", BERTH_LOCK_KEY="k", BERTH_TLS_CA="x")[1] == []


# The config file


def test_a_config_file_in_etcds_shape(config_file):
    path = config_file("""
# etcd's own sample, shortened
name: 'infra0'
data-dir:
snapshot-count: 10000
heartbeat-interval: 100
quota-backend-bytes: 0
listen-peer-urls: http://localhost:2380
listen-client-urls: https://127.0.0.1:2379,http://127.0.0.1:12379
cors:
initial-cluster: infra0=http://localhost:2380
initial-cluster-state: 'new'
discovery-srv:
proxy: 'off'
enable-v2: false
client-transport-security:
  cert-file: /certs/server.pem
  key-file: /certs/server.key
  client-cert-auth: true
  trusted-ca-file: /certs/ca.pem
  auto-tls: false
  allowed-hostname: [one.example, two.example]
peer-transport-security:
  cert-file:
  client-cert-auth: false
socket-options:
  reuse-port: true
grpc-keepalive-min-time: 3000000000
log-level: debug
logger: zap
log-outputs: [stderr]
force-new-cluster: false
auto-compaction-retention: "1"
""")
    settings, notices = effective("--config-file", path)
    assert notices == []
    assert settings["listen-client-urls"][0] == "https://127.0.0.1:2379,http://127.0.0.1:12379"
    assert settings["cert-file"] == ("/certs/server.pem", f"{path}, line 17")
    assert settings["client-cert-auth"][0] is True
    assert settings["client-cert-allowed-hostname"][0] == "one.example,two.example"
    assert settings["socket-reuse-port"][0] is True
    assert settings["grpc-keepalive-min-time"][0] == "3000000000ns"
    assert settings["auto-compaction-retention"][0] == "1"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("name: x\nlisten-client-url: http://h:1", "line 2: unknown setting: listen-client-url; did you mean listen-client-urls?"),
        ("client-transport-security:\n  certfile: x", "line 2: unknown key in client-transport-security: certfile; did you mean cert-file?"),
        ("max-txn-ops: many", "line 1); expected a whole number"),
        ("listen-client-urls: nonsense", "line 1)"),
        ("max-txn-ops: 0", "line 1)"),
        ("name: x\nname: y", "line 1: name stands there twice"),
        ("name: [x", "not YAML"),
        ("client-transport-security:\n  auto-tls: true", "--auto-tls"),
    ],
)
def test_a_wrong_config_file_is_told_with_its_line(config_file, text, named):
    path = config_file(text)
    line = refused("--config-file", path)
    assert named in line and (path in line), line


def test_a_config_file_that_is_missing(tmp_path):
    line = refused(ETCD_CONFIG_FILE=str(tmp_path / "gone.yml"))
    assert "gone.yml" in line and "ETCD_CONFIG_FILE" in line and "No such file" in line


def test_what_check_config_prints_is_a_config_file_that_says_the_same(config_file):
    first = serve("--check-config", "--name=a: b # c", "--quota-backend-bytes", "-1", "--cors", "http://a,http://b")
    path = config_file(first.stdout)
    second = serve("--check-config", "--config-file", path)
    values = [[line.rsplit("  # ", 1)[0] for line in done.stdout.splitlines()] for done in (first, second)]
    assert values[0] == values[1] and 'name: "a: b # c"' in values[0]


# etcd's other settings


@pytest.mark.parametrize(
    "flags",
    [
        ["--discovery", "https://discovery.example/token"],
        ["--discovery-srv=example.com"],
        ["--discovery-password=hush"],
        ["--initial-cluster", "default=http://a:2380,other=http://b:2380"],
        ["--initial-cluster", "other=http://b:2380"],
        ["--initial-cluster-state=existing", "--data-dir=/nonexistent/berth"],
        ["--force-new-cluster"],
        ["--unsafe-no-fsync"],
        ["--wal-dir=/wal"],
        ["--auto-tls"],
        ["--enable-v2"],
        ["--proxy=on"],
        ["--enable-log-rotation"],
        ["--experimental-enable-distributed-tracing"],
    ],
)
def test_what_a_single_member_cannot_honour_is_refused_with_the_reason(flags):
    line = refused(*flags)
    name = flags[0].split("=")[0].replace("--experimental-enable", "--enable")
    assert line.startswith(name) and re.search(r"cannot be used: .{15}|expected ", line), line
    assert "hush" not in line


def test_what_means_nothing_for_a_single_member_is_taken_and_told():
    flags = [
        "--initial-cluster=default=http://127.0.0.1:2380",
        "--initial-cluster-state=new",
        "--initial-cluster-token=mine",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--heartbeat-interval=250",
        "--election-timeout=1000",
        "--experimental-initial-corrupt-check=true",
        "--experimental-compaction-batch-limit=500",
        "--corrupt-check-time=1h",
        "--peer-client-cert-auth",
        "--peer-trusted-ca-file=/x",
        "--logger=zap",
        "--strict-reconfig-check",
        "--pre-vote",
        "--enable-v2=false",
        "--feature-gates=InitialCorruptCheck=true",
    ]
    _, notices = effective(*flags)
    told = {re.match(r"notice: --(\S+)", notice).group(1) for notice in notices}
    assert told == {
        "initial-cluster-token",
        "listen-peer-urls",
        "initial-advertise-peer-urls",
        "heartbeat-interval",
        "experimental-initial-corrupt-check",
        "compaction-batch-limit",
        "corrupt-check-time",
        "peer-client-cert-auth",
        "peer-trusted-ca-file",
        "feature-gates",
    }


def test_every_flag_of_a_real_etcd_is_known():
    """Each flag that Debian's etcd lists, and each of 3.5 and 3.6, has a stated treatment."""
    shown = subprocess.run(["etcd", "--help"], capture_output=True, text=True, timeout=60)
    old = set(re.findall(r"^\s+--([a-z0-9-]+)", shown.stdout + shown.stderr, re.MULTILINE))
    new = {line for line in ETCD_FLAGS.read_text().splitlines() if not line.startswith("#")}
    assert len(old) >= 80 and len(new) >= 140
    # Gone before 3.5: logging of 3.3's kind.
    names = (old | new) - {"debug", "log-package-levels"}
    document = DOCUMENT.read_text()
    assert not [name for name in sorted(names) if not re.search(rf"`--{name}[ `]", document)]


def test_a_folder_of_etcds_is_left_alone(tmp_path):
    (tmp_path / "data/member/snap").mkdir(parents=True)
    line = refused("--data-dir", str(tmp_path / "data"))
    assert "--data-dir" in line and "etcd" in line and "import" in line
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["member"]


# Values


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--grpc-keepalive-interval", "10"], "--grpc-keepalive-interval is 10; expected a time span with units"),
        (["--watch-progress-notify-interval=1ms"], "--watch-progress-notify-interval is '1ms'; expected 100ms or more"),
        (["--log-level=loud"], "--log-level is 'loud'; expected one of trace, debug"),
        (["--log-format=xml"], "--log-format is 'xml'; expected one of console, json"),
        (["--log-outputs=/nonexistent/log"], "--log-outputs has '/nonexistent/log': No such file"),
        (["--metrics=all"], "--metrics is 'all'; expected one of basic, extensive"),
        (["--bcrypt-cost=3"], "--bcrypt-cost is 3; expected 4 to 31"),
        (["--auth-token=magic"], "--auth-token"),
        (["--auth-token=jwt,sign-method=XX"], "--auth-token"),
        (["--tls-min-version=TLS1.1"], "--tls-min-version is 'TLS1.1'; expected one of TLS1.2, TLS1.3"),
        (["--max-concurrent-streams=0"], "--max-concurrent-streams is 0; expected 1 to 4294967295"),
        (["--client-cert-auth", "false"], "such as --client-cert-auth=false"),
        (["--name"], "--name has no value; expected --name NAME"),
        (["stray"], "'stray' is not a flag"),
    ],
)
def test_values_that_cannot_be_used(flags, named):
    assert named in refused(*flags)


@pytest.mark.parametrize("level", ["debug", "info", "warn", "error", "panic", "fatal", "notice", "critical"])
def test_etcds_log_levels_are_known(level):
    assert effective("--log-level", level)[0]["log-level"][0] == level


# Help


def test_help_is_grouped_and_says_everything():
    done = serve("--help", "--max-txn-ops", "many", BERTH_NONSENSE="1")
    assert done.returncode == 0 and done.stderr == ""
    assert max(map(len, done.stdout.splitlines())) <= 120
    for title in ("Member:", "Addresses:", "TLS for clients:", "Users:", "Limits:", "Compaction:"):
        assert f"\n{title}\n" in done.stdout
    assert serve("-h").stdout == done.stdout
    for name in effective()[0]:
        assert f"\n  --{name}" in done.stdout


def test_version_is_read_as_etcds():
    first, *rest = serve("--version").stdout.splitlines()
    assert re.fullmatch(r"etcd Version: 3\.5\.\d+", first)
    assert any(line.startswith("Berth Version: ") for line in rest)


def test_the_document_has_the_table_as_it_is():
    """docs/configuration.md ends with what `berth serve --help=markdown` prints."""
    assert DOCUMENT.read_text().endswith(serve("--help=markdown").stdout)


# A server that runs with them


def test_a_server_started_from_a_config_file(new_server, config_file):
    server = new_server(name="ignored")
    path = config_file(f"""
name: filed
data-dir: {server.data_dir}
listen-client-urls: [{server.url}]
max-txn-ops: 3
heartbeat-interval: 200
""")
    server.command = lambda: [berth_binary(), "serve", "--config-file", path]
    plain = server.environment()
    server.environment = lambda: plain | {"ETCD_LOG_LEVEL": "error"}
    server.start()
    (line,) = Etcdctl(server.url)("member", "list").lines
    assert ", started, filed," in line
    log = server.log()
    assert "--heartbeat-interval" in log and "has no effect" in log
    assert "not read, as there is a config file: ETCD_LOG_LEVEL" in log


def test_the_log_as_etcd_writes_it(new_server, tmp_path):
    log = tmp_path / "berth.json"
    server = new_server(log_format="json", log_outputs=f"stderr,{log}", heartbeat_interval=200, log_level="info").start()
    server.stop()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert all({"level", "ts", "msg"} <= line.keys() for line in lines)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["ts"]) for line in lines)
    assert "ready to serve client requests" in [line["msg"] for line in lines]
    assert any("--heartbeat-interval" in line["msg"] for line in lines)
    shared = [line for line in server.log().splitlines() if line.startswith("{")]
    assert [json.loads(line) for line in shared] == lines


def test_systemd_is_told_when_clients_are_served(new_server, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(60)
        systemd.bind(str(tmp_path / "notify"))
        server = new_server(port=free_port())
        plain = server.environment()
        server.environment = lambda: plain | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        server.launch()
        assert systemd.recv(100) == b"READY=1"
        assert server.is_healthy()
