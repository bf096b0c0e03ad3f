"""Certificates for tests: an authority, a server's certificate for this machine, and clients' with a common name."""

import dataclasses
import pathlib
import ssl
import subprocess

import grpc


@dataclasses.dataclass(frozen=True)
class Certificate:
    file: pathlib.Path
    key: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Security:
    """What a server and its clients need of each other."""

    authority: pathlib.Path
    server: Certificate
    client: Certificate | None  # None: the server asks for none.
    nameless_client: Certificate | None  # Without a common name, which etcd's gateway asks of its clients.

    def flags(self):
        flags = {"cert-file": self.server.file, "key-file": self.server.key}
        if self.client:
            flags |= {"trusted-ca-file": self.authority, "client-cert-auth": True}
        return flags

    def grpc_credentials(self):
        client = (self.client.key.read_bytes(), self.client.file.read_bytes()) if self.client else (None, None)
        return grpc.ssl_channel_credentials(self.authority.read_bytes(), *client)

    def context(self):
        """For HTTP clients."""
        context = ssl.create_default_context(cafile=self.authority)
        if self.nameless_client:
            context.load_cert_chain(self.nameless_client.file, self.nameless_client.key)
        return context


class Authority:
    """Makes certificates in `folder` with the openssl command."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file, self.key = self.folder / "ca.pem", self.folder / "ca.key"
        self._new_key(self.key)
        self._openssl(
            "req", "-x509", "-new", "-key", self.key, "-out", self.file, "-days", "2", "-subj", "/CN=test authority"
        )

    def certificate(self, name, subject, extensions=()):
        """Signed by the authority, good for servers and clients."""
        file, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        request, about = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        self._new_key(key)
        self._openssl("req", "-new", "-key", key, "-out", request, "-subj", subject)
        about.write_text("\n".join(["extendedKeyUsage=serverAuth,clientAuth", *extensions]) + "\n")
        signed_by = ("-CA", self.file, "-CAkey", self.key, "-CAcreateserial")
        self._openssl("x509", "-req", "-in", request, *signed_by, "-days", "2", "-extfile", about, "-out", file)
        return Certificate(file, key)

    def security(self, client_name=None):
        """`client_name`: clients must show a certificate, and show one with this common name."""
        here = "subjectAltName=DNS:localhost,IP:127.0.0.1"
        named = nameless = None
        if client_name:
            named = self.certificate("client", f"/CN={client_name}")
            nameless = self.certificate("nameless", "/O=tests")
        # Without a common name: etcd's gateway calls the server with the server's own certificate.
        return Security(self.file, self.certificate("server", "/O=tests", [here]), named, nameless)

    def _new_key(self, path):
        self._openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)

    def _openssl(self, *arguments):
        done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"openssl {arguments[0]}: {done.stderr}")
