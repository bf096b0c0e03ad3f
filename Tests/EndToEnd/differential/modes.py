"""What a run goes over besides plain gRPC: accounts, the JSON gateway, TLS; and the server flags that each needs."""

import dataclasses
import random

from harness.certificates import Authority

TLS = ("off", "server", "client")
CERTIFIED_USER = "carol"  # The common name in the client's certificate.
BCRYPT_COST = 4  # The least there is: passwords are not what is measured here.


@dataclasses.dataclass(frozen=True)
class Modes:
    auth: bool = False
    gateway: bool = False
    tls: str = "off"  # "server": only the server shows a certificate; "client": the client must show one too.

    @classmethod
    def drawn(cls, seed):
        """A mixture by the seed."""
        draw = random.Random(f"modes {seed}")
        return cls(auth=draw.random() < 0.7, gateway=draw.random() < 0.7, tls=draw.choice(TLS))

    def __str__(self):
        words = ["auth"] * self.auth + ["gateway"] * self.gateway + [f"TLS ({self.tls})"] * (self.tls != "off")
        return ", ".join(words) or "plain gRPC"

    def security(self, folder):
        """The certificates of both servers and of the client, or None."""
        if self.tls == "off":
            return None
        return Authority(folder).security(CERTIFIED_USER if self.tls == "client" else None)

    def flags(self, server_version):
        """Flags of a server of a version (None: Berth)."""
        flags = {}
        if self.auth and (server_version is None or server_version >= (3, 5)):
            # Tokens end by what is done, not by how long the run takes. 3.4 has no such flags.
            flags |= {"auth_token_ttl": 3600, "bcrypt_cost": BCRYPT_COST}
        elif self.auth:
            flags |= {"bcrypt_cost": BCRYPT_COST}
        return flags
