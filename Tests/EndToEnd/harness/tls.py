"""Certificates made by openssl as a test needs them, and servers and clients that use them."""

import datetime
import http.client
import pathlib
import shutil
import socket
import ssl
import subprocess

import grpc

from .client import Client
from .server import Server

CONFIGURATION = """
[ca]
default_ca = own
[own]
database = {folder}/index.txt
new_certs_dir = {folder}/issued
serial = {folder}/serial
crlnumber = {folder}/crlnumber
certificate = {folder}/ca.pem
private_key = {folder}/ca-key.pem
default_md = sha256
default_crl_days = 30
policy = any
unique_subject = no
[any]
commonName = optional
"""


def openssl(*arguments, cwd=None):
    result = subprocess.run(["openssl", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, f"openssl {arguments}: {result.stderr}"
    return result.stdout


def moment(days):
    """So many days from now, as openssl writes it."""
    then = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
    return then.strftime("%Y%m%d%H%M%SZ")


class Pair:
    """A certificate and its key, as files."""

    def __init__(self, cert, key):
        self.cert = pathlib.Path(cert)
        self.key = pathlib.Path(key)

    def serial(self):
        return int(openssl("x509", "-in", self.cert, "-noout", "-serial").strip().removeprefix("serial="), 16)

    def copy_to(self, other):
        """Takes the place of `other`, one file after the other, as tools that renew certificates do."""
        for source, place in [(self.cert, other.cert), (self.key, other.key)]:
            new = place.with_suffix(".new")
            shutil.copy(source, new)
            new.rename(place)


class Authority:
    """A certificate authority in a folder of its own."""

    def __init__(self, folder, name="test authority"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True)
        (self.folder / "issued").mkdir()
        (self.folder / "index.txt").touch()
        (self.folder / "serial").write_text("1000\n")
        (self.folder / "crlnumber").write_text("01\n")
        (self.folder / "openssl.cnf").write_text(CONFIGURATION.format(folder=self.folder))
        self.cert = self.folder / "ca.pem"
        self._key_and_request("ca", name, "-x509", "-days", "30", "-addext", "basicConstraints=critical,CA:TRUE")

    def subordinate(self, folder, name):
        """An authority that this one vouches for."""
        below = Authority(folder, name)
        request = below.folder / "ca.csr"
        openssl("req", "-new", "-key", below.folder / "ca-key.pem", "-subj", f"/CN={name}", "-out", request)
        extensions = below.folder / "ca.ext"
        extensions.write_text("basicConstraints=critical,CA:TRUE\n")
        self._ca(
            "-in", request, "-out", below.cert, "-notext", "-extfile", extensions,
            "-startdate", moment(-1), "-enddate", moment(30),
        )  # fmt: skip
        return below

    def _key_and_request(self, file, common_name, *options):
        openssl(
            "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", self.folder / f"{file}-key.pem", "-out", self.folder / f"{file}.pem",
            "-subj", f"/CN={common_name}" if common_name else "/", *options,
        )  # fmt: skip

    def issue(self, file, common_name="", names="DNS:localhost,IP:127.0.0.1", first_day=-1, last_day=30):
        """Signs a certificate for a server and a client; days count from now."""
        self._key_and_request(file, common_name)
        request = (self.folder / f"{file}.pem").rename(self.folder / f"{file}.csr")
        extensions = self.folder / f"{file}.ext"
        extensions.write_text(f"subjectAltName={names}\n" if names else "keyUsage=digitalSignature\n")
        self._ca(
            "-in", request, "-out", self.folder / f"{file}.pem", "-notext", "-extfile", extensions,
            "-startdate", moment(first_day), "-enddate", moment(last_day),
        )  # fmt: skip
        return Pair(self.folder / f"{file}.pem", self.folder / f"{file}-key.pem")

    def _ca(self, *arguments):
        openssl("ca", "-batch", "-config", self.folder / "openssl.cnf", *arguments)

    def revoke(self, *pairs):
        """Takes certificates back; returns the list of all that were, as a new file."""
        for pair in pairs:
            self._ca("-revoke", pair.cert)
        new = self.folder / "crl.new"
        self._ca("-gencrl", "-out", new)
        return new.rename(self.folder / "crl.pem")


class SecureServer(Server):
    """A server whose client address is https; `authority` and `pair` are its certificate, `identity` is what the harness
    shows of itself where the server asks."""

    def __init__(self, *arguments, authority, pair, identity=None, **options):
        super().__init__(*arguments, cert_file=pair.cert, key_file=pair.key, **options)
        self.authority = authority
        self.identity = identity

    @property
    def url(self):
        return f"https://{self.address}"

    def is_healthy(self):
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=20, context=client_context(self.authority, self.identity, check=False)
        )
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def client(self, identity=None, authority=None, **options):
        return Client(self.address, credentials=credentials(authority or self.authority, identity), **options)


def credentials(authority, identity=None):
    """What a grpcio client connects with."""
    key, cert = (identity.key.read_bytes(), identity.cert.read_bytes()) if identity else (None, None)
    return grpc.ssl_channel_credentials(authority.cert.read_bytes(), key, cert)


def client_context(authority=None, identity=None, alpn=(), version=None, check=True):
    context = ssl.create_default_context(cafile=authority and authority.cert)
    if authority is None or not check:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if identity:
        context.load_cert_chain(identity.cert, identity.key)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if version:
        context.minimum_version = context.maximum_version = version
    return context


def connect(server, timeout=30, **options):
    """A TLS connection, whose handshake is done as far as this side can tell."""
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=timeout)
    try:
        return client_context(**options).wrap_socket(plain, server_hostname="localhost")
    except BaseException:
        plain.close()
        raise


def served_serial(server):
    """The serial number of the certificate that a new connection gets."""
    with connect(server, authority=server.authority) as connection:
        return int(connection.getpeercert()["serialNumber"], 16)


def get(server, path="/health", **options):
    """The status line of an HTTP/1.1 request, or None when the server ends the connection instead."""
    try:
        with connect(server, **options) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
            return answer.split(b"\r\n", 1)[0].decode() or None
    except (ssl.SSLError, ConnectionError):
        return None
