"""TLS on client addresses: who is let in, with what, and what happens when certificates change or are wrong."""

import os
import pathlib
import socket
import ssl
import subprocess
import threading
import time

import grpc
import pytest

from harness import wire
from harness.client import status
from harness.etcdctl import BINARY
from harness.server import Server, free_port
from harness.target import berth_binary
from harness.tls import Authority, Pair, SecureServer, client_context, connect, get, openssl, served_serial

pytestmark = pytest.mark.berth_only
CODE = grpc.StatusCode


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """An authority that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("tls") / "stranger", "another authority")


@pytest.fixture(scope="module")
def pair(authority):
    return authority.issue("server", "server")


@pytest.fixture(scope="module")
def alice(authority):
    return authority.issue("alice", "alice", names="DNS:alice.example.org,IP:127.0.0.7")


@pytest.fixture
def secure(request, tmp_path, authority, pair):
    """Makes servers with TLS, ended with the test."""
    servers = request.node.servers = []

    def make(identity=None, pair=pair, **options):
        server = SecureServer(
            tmp_path / f"secure-{len(servers)}", authority=authority, pair=pair, identity=identity, **options
        )
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.kill()


def eventually(check, within=30):
    """What only time brings about: the server looks at its files by the clock."""
    deadline = time.monotonic() + within
    while not check():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def until_closed(connection, timeout=30):
    """Seconds until the server ends the connection."""
    connection.settimeout(timeout)
    start = time.monotonic()
    try:
        while connection.recv(65536):
            pass
    except (ConnectionError, ssl.SSLError):
        pass
    return time.monotonic() - start


def refused(identity_or_none, server, authority):
    """Whether a client with this certificate, or none, gets no answer."""
    return get(server, authority=authority, identity=identity_or_none) is None


# Who speaks with it


def etcdctl(server, *arguments):
    command = [BINARY, "--endpoints", server.url, *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ETCDCTL_")}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=environment | {"ETCDCTL_API": "3"}
    )


def test_etcdctl_with_the_authority_and_no_other_way(secure, authority, stranger):
    server = secure().start()
    ca = ["--cacert", authority.cert]
    assert etcdctl(server, *ca, "put", "a", "1").stdout == "OK\n"
    assert etcdctl(server, *ca, "get", "a").stdout == "a\n1\n"
    assert etcdctl(server, "--cacert", stranger.cert, "get", "a").returncode != 0
    unverified = ["--insecure-transport=false", "--insecure-skip-tls-verify"]
    assert etcdctl(server, *unverified, "get", "a").stdout == "a\n1\n"
    plain = subprocess.run([BINARY, "--endpoints", f"http://{server.address}", "get", "a"], capture_output=True)
    assert plain.returncode != 0


def test_grpcio_with_streams(secure):
    server = secure().start()
    with server.client() as client, client.watch() as watch:
        watch.create(b"k")
        client.put(b"k", b"v" * 1_000_000)
        assert watch.events(1)[0].kv.value == b"v" * 1_000_000
        assert client.get(b"k") == b"v" * 1_000_000


def curl(server, *arguments, path="/health", scheme="https"):
    command = ["curl", "--silent", "--show-error", "--max-time", "30", "--write-out", "\n%{http_version} %{http_code}"]
    result = subprocess.run(
        [*command, *map(str, arguments), f"{scheme}://localhost:{server.port}{path}"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return result.returncode, result.stdout.rsplit("\n", 1)[-1]


def test_curl_agrees_on_its_protocol(secure, authority, stranger):
    server = secure().start()
    assert curl(server, "--cacert", authority.cert, "--http1.1") == (0, "1.1 200")
    code, answer = curl(server, "--cacert", authority.cert, "--http2")
    assert (code, answer.split()[0]) == (0, "2")
    assert curl(server, "--cacert", stranger.cert, "--http1.1")[0] == 60


def test_https_and_http_together(secure, authority):
    server = secure()
    plain = free_port()
    server.options["listen-client-urls"] = f"{server.url},http://127.0.0.1:{plain}"
    server.start()
    other = Server(server.data_dir, port=plain)
    with server.client() as secured, other.client() as open_client:
        secured.put(b"a", b"1")
        assert open_client.get(b"a") == b"1"
    with connect(server, authority=authority) as connection:
        assert connection.version() == "TLSv1.3"


# What is agreed on


@pytest.mark.parametrize("offered, agreed", [(["h2"], "h2"), (["http/1.1"], "http/1.1"), (["h2", "http/1.1"], "h2")])
def test_alpn(secure, authority, offered, agreed):
    server = secure().start()
    with connect(server, authority=authority, alpn=offered) as connection:
        assert connection.selected_alpn_protocol() == agreed
    right = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n" if agreed == "http/1.1" else wire.PREFACE + wire.settings()
    wrong = wire.PREFACE + wire.settings() if agreed == "http/1.1" else b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
    with connect(server, authority=authority, alpn=offered) as connection:
        connection.sendall(right)
        assert connection.recv(100)
    with connect(server, authority=authority, alpn=offered) as connection:
        connection.sendall(wrong)
        assert until_closed(connection) < 5


def test_without_alpn_the_first_bytes_decide(secure, authority):
    server = secure().start()
    assert get(server, authority=authority) == "HTTP/1.1 200 OK"
    with connect(server, authority=authority) as connection:
        assert connection.selected_alpn_protocol() is None
        connection.sendall(wire.PREFACE + wire.settings())
        assert connection.recv(9)[3] == wire.SETTINGS


def test_versions(secure, authority):
    usual = secure().start()
    for version in [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]:
        with connect(usual, authority=authority, version=version) as connection:
            assert connection.version() == version.name.replace("_", ".")
    old = ["s_client", "-connect", usual.address, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]
    assert subprocess.run(["openssl", *old], stdin=subprocess.DEVNULL, capture_output=True, timeout=60).returncode != 0
    usual.stop()
    newest = secure(tls_min_version="TLS1.3").start()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(newest, authority=authority, version=ssl.TLSVersion.TLSv1_2)
    newest.stop()
    older = secure(tls_max_version="TLS1.2").start()
    with connect(older, authority=authority) as connection:
        assert connection.version() == "TLSv1.2"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(older, authority=authority, version=ssl.TLSVersion.TLSv1_3)


def test_cipher_suites(secure, authority):
    server = secure(cipher_suites="TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,TLS_AES_128_GCM_SHA256").start()
    with connect(server, authority=authority, version=ssl.TLSVersion.TLSv1_2) as connection:
        assert connection.cipher()[0] == "ECDHE-ECDSA-CHACHA20-POLY1305"
    context = client_context(authority, version=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as plain:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(plain, server_hostname="localhost")


# Clients' certificates


@pytest.mark.parametrize("options", [{"client_cert_auth": True}, {}], ids=["client-cert-auth", "trusted CA alone"])
def test_client_certificates_required(secure, authority, stranger, alice, options):
    server = secure(identity=alice, trusted_ca_file=authority.cert, log_level="debug", **options).start()
    expired = authority.issue("late", "late", first_day=-20, last_day=-10)
    early = authority.issue("early", "early", first_day=10)
    foreign = stranger.issue("mallory", "alice")
    assert get(server, authority=authority, identity=alice) == "HTTP/1.1 200 OK"
    for wrong in [None, expired, early, foreign]:
        assert refused(wrong, server, authority)
    assert "TLS handshake failed" in server.log() and "127.0.0.1" in server.log()
    with server.client(identity=alice) as client:
        client.put(b"a", b"1")
    with server.client(identity=foreign) as client:
        assert status(lambda: client.put(b"a", b"2", timeout=5))[0] in (CODE.UNAVAILABLE, CODE.DEADLINE_EXCEEDED)
    cert = ["--cacert", authority.cert, "--cert", alice.cert, "--key", alice.key]
    assert etcdctl(server, *cert, "get", "a").stdout == "a\n1\n"
    assert etcdctl(server, "--cacert", authority.cert, "--command-timeout", "2s", "get", "a").returncode != 0
    assert curl(server, *cert, "--http1.1") == (0, "1.1 200")
    assert curl(server, "--cacert", authority.cert, "--http1.1")[0] != 0
    for word in [alice.key.read_text().splitlines()[1], "BEGIN"]:
        assert word not in server.log()


def test_client_certificates_optional(secure, authority, stranger, alice):
    server = secure(trusted_ca_file=authority.cert, client_cert_optional=True).start()
    assert get(server, authority=authority) == "HTTP/1.1 200 OK"
    assert get(server, authority=authority, identity=alice) == "HTTP/1.1 200 OK"
    assert refused(stranger.issue("eve", "alice"), server, authority)
    assert refused(authority.issue("old", "old", first_day=-20, last_day=-10), server, authority)


def test_allowed_hostnames(secure, authority, alice):
    hosts = "db.example.net,ALICE.example.org"
    server = secure(
        identity=alice, trusted_ca_file=authority.cert, client_cert_auth=True, client_cert_allowed_hostname=hosts
    ).start()
    assert get(server, authority=authority, identity=alice) == "HTTP/1.1 200 OK"
    wild = authority.issue("wild", "wild", names="DNS:*.example.net")
    assert get(server, authority=authority, identity=wild) == "HTTP/1.1 200 OK"
    for names in ["DNS:bob.example.org", "DNS:example.org", "DNS:*.org", ""]:
        assert refused(authority.issue("bob", "alice.example.org", names=names), server, authority)


def test_revoked_certificates(secure, authority, alice):
    first, second = authority.issue("first", "first"), authority.issue("second", "second")
    crl = authority.revoke(first)
    server = secure(identity=alice, trusted_ca_file=authority.cert, client_crl_file=crl, log_level="debug").start()
    assert refused(first, server, authority)
    assert "revoked" in server.log()
    with server.client(identity=second) as client:
        client.put(b"a", b"1")
        authority.revoke(second)
        eventually(lambda: refused(second, server, authority))
        client.put(b"a", b"2")  # Connections that stand are left alone.
    assert get(server, authority=authority, identity=alice) == "HTTP/1.1 200 OK"
    # In DER too, and a session that is taken up again is judged again.
    server.stop()
    der = crl.with_suffix(".der")
    openssl("crl", "-in", crl, "-outform", "DER", "-out", der)
    server.options["client_crl_file"] = der
    server.start()
    assert refused(first, server, authority) and refused(second, server, authority)


def test_a_session_taken_up_again_is_judged_again(secure, authority, alice):
    carol = authority.issue("carol", "carol")
    crl = authority.revoke()
    server = secure(identity=alice, trusted_ca_file=authority.cert, client_crl_file=crl).start()
    context = client_context(authority, carol)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # Where the session is there with the handshake.

    def answer(session=None):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as plain:
            with context.wrap_socket(plain, server_hostname="localhost", session=session) as connection:
                try:
                    connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
                    return connection.recv(12), connection.session
                except (ssl.SSLError, ConnectionError):
                    return b"", connection.session

    first, session = answer()
    assert first == b"HTTP/1.1 200" and answer(session)[0] == first
    authority.revoke(carol)
    eventually(lambda: not answer()[0])
    assert not answer(session)[0]


def joined(path, *files):
    path.write_text("".join(file.read_text() for file in files))
    return path


def test_intermediate_authorities(secure, authority, tmp_path):
    middle = authority.subordinate(tmp_path / "middle", "authority in the middle")
    leaf = middle.issue("dave", "dave")
    dave = Pair(joined(tmp_path / "chain.pem", leaf.cert, middle.cert), leaf.key)
    crl = authority.revoke()
    both = joined(tmp_path / "both.pem", authority.cert, middle.cert)

    def is_let_in(identity=dave, **options):
        server = secure(identity=identity, log_level="debug", **options).launch()
        try:
            eventually(lambda: "berth ready" in server.log())
            return get(server, authority=authority, identity=identity) is not None, server.log()
        finally:
            server.stop()

    assert is_let_in(trusted_ca_file=authority.cert)[0]
    assert not is_let_in(leaf, trusted_ca_file=authority.cert)[0]  # The chain is not whole.
    # What the client brought along could be revoked unseen.
    let_in, log = is_let_in(trusted_ca_file=authority.cert, client_crl_file=crl)
    assert not let_in and "not in --trusted-ca-file" in log
    assert is_let_in(trusted_ca_file=both, client_crl_file=crl)[0]
    authority.revoke(Pair(middle.cert, middle.cert))
    let_in, log = is_let_in(trusted_ca_file=both, client_crl_file=crl)
    assert not let_in and "authority in the middle" in log
    # As the library has it, and docs/tls.md says.
    assert not is_let_in(trusted_ca_file=middle.cert)[0]


# Files that change


def test_certificates_are_renewed_under_load(secure, authority, tmp_path):
    mine = Pair(tmp_path / "server.pem", tmp_path / "server-key.pem")
    renewals = [authority.issue(f"renewed-{number}", "server") for number in range(3)]
    renewals[0].copy_to(mine)
    server = secure(pair=mine).start()
    assert served_serial(server) == renewals[0].serial()
    ended, failures, puts, connections = threading.Event(), [], [0], [0]

    def write():
        try:
            with server.client() as client:
                while not ended.is_set():
                    client.put(b"load", b"x")
                    puts[0] += 1
        except Exception as error:
            failures.append(error)

    def come_and_go():
        try:
            while not ended.is_set():
                assert get(server, authority=authority) == "HTTP/1.1 200 OK"
                connections[0] += 1
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for run in (write, write, come_and_go)]
    for thread in threads:
        thread.start()
    try:
        for renewal in renewals[1:]:
            renewal.copy_to(mine)
            eventually(lambda: served_serial(server) == renewal.serial())
        for broken in [b"not a certificate", renewals[0].cert.read_bytes()]:  # Nothing at all, and another key's.
            mine.cert.write_bytes(broken)
            told = server.log().count("cannot be used")
            eventually(lambda: server.log().count("cannot be used") > told)
            assert served_serial(server) == renewals[2].serial()
        mine.cert.unlink()
        eventually(lambda: "No such file" in server.log())
        assert served_serial(server) == renewals[2].serial()
        renewals[1].copy_to(mine)
        eventually(lambda: served_serial(server) == renewals[1].serial())
    finally:
        ended.set()
        for thread in threads:
            thread.join(60)
    assert not failures, failures
    assert puts[0] > 0 and connections[0] > 0
    # A broken file is told of once, not at every look.
    assert server.log().count("cannot be used") == 3, server.log()
    print(f"{puts[0]} puts on 2 connections and {connections[0]} new connections over 3 renewals and 3 broken files")


# Peers that are slow, many, or speak something else


def test_slow_and_many_handshakes_are_bounded(secure, authority):
    server = secure(log_level="debug").start()
    hello = ssl.MemoryBIO()
    client = client_context(authority).wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    part = hello.read()[:50]
    start = time.monotonic()
    sockets = []
    try:
        # Who says nothing takes nobody's place.
        for _ in range(1024):
            sockets.append(socket.create_connection(("127.0.0.1", server.port), timeout=30))
        assert get(server, authority=authority) == "HTTP/1.1 200 OK"
        for slow in sockets:
            slow.sendall(part)
        # All places are taken: who comes now is sent away at once.
        eventually(lambda: get(server, authority=authority) is None, within=5)
        assert "too many are under way" in server.log()
        for slow in sockets:
            until_closed(slow)
        assert 8 < time.monotonic() - start < 25
        assert get(server, authority=authority) == "HTTP/1.1 200 OK"
    finally:
        for slow in sockets:
            slow.close()


def test_a_finished_handshake_and_then_silence_is_closed(secure, authority):
    server = secure().start()
    with connect(server, authority=authority) as connection:
        assert 8 < until_closed(connection) < 20


def test_peers_that_speak_something_else(secure, new_server, authority):
    server = secure(log_level="debug").start()
    for bytes in [b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n", wire.PREFACE + wire.settings(), b"\x16\x03\x01\xff\xff" * 99]:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as plain:
            plain.sendall(bytes)
            assert until_closed(plain) < 15
    assert server.log().count("TLS handshake failed") >= 2
    unsecured = new_server().start()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(unsecured)
    assert get(server, authority=authority) == "HTTP/1.1 200 OK" and unsecured.is_healthy()


def test_a_server_with_connections_stops_in_order(secure, authority):
    server = secure().start()
    with server.client() as client, connect(server, authority=authority), client.watch() as watch:
        watch.create(b"a")
        start = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - start < 15


# Wrong settings and files


def one_line(server):
    """The one line of a start that is refused, beside what was logged before."""
    result = subprocess.run(
        server.command(), capture_output=True, text=True, timeout=60, env=server.environment()
    )
    assert result.returncode != 0, result
    lines = [line for line in result.stderr.splitlines() if line.startswith("berth: ")]
    assert len(lines) == 1 and "Fatal" not in result.stderr, result.stderr
    return lines[0]


def test_wrong_files_are_refused_by_name(secure, authority, pair, alice, tmp_path):
    nothing, text = tmp_path / "nothing", tmp_path / "text"
    text.write_text("no PEM\n")
    encrypted = tmp_path / "encrypted.pem"
    openssl("pkcs8", "-topk8", "-in", pair.key, "-passout", "pass:x", "-out", encrypted)
    cases = [
        (dict(pair=Pair(nothing, pair.key)), ["--cert-file", str(nothing), "No such file"]),
        (dict(pair=Pair(tmp_path, pair.key)), ["--cert-file", str(tmp_path)]),
        (dict(pair=Pair(text, pair.key)), ["--cert-file", str(text), "PEM"]),
        (dict(pair=Pair(pair.key, pair.key)), ["--cert-file", "certificate"]),
        (dict(pair=Pair(pair.cert, nothing)), ["--key-file", str(nothing), "No such file"]),
        (dict(pair=Pair(pair.cert, text)), ["--key-file", str(text), "PEM"]),
        (dict(pair=Pair(pair.cert, encrypted)), ["--key-file", str(encrypted), "encrypted"]),
        (dict(pair=Pair(pair.cert, alice.key)), ["--key-file", str(alice.key), "not the key", str(pair.cert)]),
        (dict(trusted_ca_file=nothing), ["--trusted-ca-file", str(nothing)]),
        (dict(trusted_ca_file=text), ["--trusted-ca-file", str(text), "PEM"]),
        (dict(trusted_ca_file=authority.cert, client_crl_file=text), ["--client-crl-file", str(text)]),
        (dict(trusted_ca_file=authority.cert, client_crl_file=authority.cert), ["--client-crl-file"]),
        (dict(client_cert_auth=True), ["--client-cert-auth", "--trusted-ca-file"]),
        (dict(cipher_suites="TLS_NULL"), ["--cipher-suites", "TLS_NULL"]),
        (dict(cipher_suites="TLS_AES_128_GCM_SHA256"), ["--cipher-suites"]),
        (dict(tls_min_version="TLS1.1"), ["--tls-min-version", "TLS1.1"]),
        (dict(tls_min_version="TLS1.3", tls_max_version="TLS1.2"), ["--tls-min-version", "--tls-max-version"]),
    ]
    for options, words in cases:
        line = one_line(secure(**options))
        assert all(word in line for word in words), (options, line)


def test_addresses_that_exclude_each_other(secure, new_server, tmp_path):
    port = free_port()
    cases = [
        (dict(listen_client_urls=f"https://127.0.0.1:{port},http://127.0.0.1:{port}"), "--listen-client-urls"),
        (dict(listen_client_urls=f"http://127.0.0.1:{port},http://localhost:{port}"), "--listen-client-urls"),
        (dict(listen_client_urls=f"https://127.0.0.1:{port}", listen_metrics_urls=f"http://0.0.0.0:{port}"),
         "--listen-metrics-urls"),
        (dict(listen_client_urls=f"https://127.0.0.1:{port}", listen_client_http_urls=f"https://127.0.0.1:{port}"),
         "--listen-client-http-urls"),
    ]  # fmt: skip
    for options, word in cases:
        server = secure()
        server.options |= {name.replace("_", "-"): value for name, value in options.items()}
        line = one_line(server)
        assert word in line and str(port) in line, line
    for option in ["listen-client-urls", "listen-metrics-urls"]:
        server = new_server()
        server.options[option] = f"https://127.0.0.1:{port}"
        line = one_line(server)
        assert option in line and "--cert-file" in line, line


def test_an_expired_certificate_is_served_with_a_warning(secure, authority):
    server = secure(pair=authority.issue("over", "over", first_day=-20, last_day=-10)).start()
    assert "--cert-file" in server.log() and "has run out" in server.log()
    assert get(server, authority=authority) is None
    assert get(server) == "HTTP/1.1 200 OK"


# Addresses of their own


def at(server, port):
    """The same server seen at another of its ports."""
    other = SecureServer(
        server.data_dir, authority=server.authority, pair=Pair("", ""), identity=server.identity, port=port
    )
    return other


def plain_get(port, path, host="localhost"):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer.split(b"\r\n", 1)[0].decode()


def test_metrics_addresses(secure, authority, alice):
    ports = [free_port(), free_port()]
    server = secure(
        identity=alice, trusted_ca_file=authority.cert,
        listen_metrics_urls=f"http://127.0.0.1:{ports[0]},https://127.0.0.1:{ports[1]}",
    ).start()  # fmt: skip
    for path, wanted in [("/metrics", "200"), ("/health", "200"), ("/version", "404"), ("/v3/kv/range", "404")]:
        assert plain_get(ports[0], path).split()[1] == wanted
        assert get(at(server, ports[1]), path, authority=authority, identity=alice).split()[1] == wanted
    assert refused(None, at(server, ports[1]), authority)
    with connect(at(server, ports[1]), authority=authority, identity=alice, alpn=["h2", "http/1.1"]) as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"
    with Server(server.data_dir, port=ports[0]).client() as client:
        assert status(lambda: client.put(b"a", b"1", timeout=10))[0] == CODE.UNIMPLEMENTED
    assert get(server, "/metrics", authority=authority, identity=alice) == "HTTP/1.1 200 OK"


def test_http_addresses_of_their_own(new_server):
    port = free_port()
    server = new_server(listen_client_http_urls=f"http://127.0.0.1:{port}").launch()
    eventually(lambda: can_connect(port))
    assert plain_get(port, "/health").split()[1] == "200"
    assert plain_get(server.port, "/health").split()[1] == "404"
    with server.client() as client:
        client.put(b"a", b"1")
    with Server(server.data_dir, port=port).client() as client:
        assert status(lambda: client.put(b"a", b"1", timeout=10))[0] == CODE.UNIMPLEMENTED


def can_connect(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=30).close()
    except ConnectionError:
        return False
    return True


def test_host_whitelist_without_tls_alone(secure, authority):
    plain = free_port()
    server = secure(host_whitelist="localhost,db.example.org")
    server.options["listen-client-urls"] = f"{server.url},http://127.0.0.1:{plain}"
    server.start()
    for host, wanted in [
        ("localhost", "200"), ("localhost:99", "200"), ("db.example.org", "200"),
        ("evil.example.org", "421"), ("127.0.0.1", "421"), ("", "421"),
    ]:  # fmt: skip
        assert plain_get(plain, "/health", host).split()[1] == wanted, host
    assert curl(server, "--cacert", authority.cert, "--http1.1", "-H", "Host: evil.example.org") == (0, "1.1 200")
    with Server(server.data_dir, port=plain).client() as client:
        client.put(b"a", b"1")  # gRPC has no browser to protect.


# Settings of connections


def test_keepalive_and_streams(new_server):
    server = new_server(grpc_keepalive_interval="1s", max_concurrent_streams="7").start()
    with wire.RawConnection(server) as connection:
        settings = b""
        while True:
            kind, flags, _, payload = connection.receive()
            if kind == wire.SETTINGS and not flags:
                settings = payload
            if kind == wire.PING and not flags:
                break
        assert b"\x00\x03\x00\x00\x00\x07" in settings


def test_two_servers_share_a_port_when_told_so(new_server):
    first = new_server(socket_reuse_port=True).start()
    second = new_server(port=first.port, socket_reuse_port=True).start()
    assert first.is_running() and second.is_running()
    assert "cannot listen" in one_line(new_server(port=first.port))


# The certificates' folder is replaced as a whole where Kubernetes mounts secrets


def test_certificates_behind_a_symbolic_link(secure, authority, tmp_path):
    for number in range(2):
        folder = tmp_path / f"version-{number}"
        folder.mkdir()
        authority.issue(f"mounted-{number}", "server").copy_to(Pair(folder / "tls.pem", folder / "tls-key.pem"))
    link = tmp_path / "current"
    link.symlink_to(tmp_path / "version-0")
    server = secure(pair=Pair(link / "tls.pem", link / "tls-key.pem")).start()
    before = served_serial(server)
    new = tmp_path / "new"
    new.symlink_to(tmp_path / "version-1")
    new.rename(link)
    eventually(lambda: served_serial(server) != before)
