"""ZooKeeper: one server from Debian's jars, driven by kazoo."""
import re
import shutil
import socket
from pathlib import Path

from . import workers
from .rival import KEY_WORKS, TURN_WORKS, Rival, keys_for
from .server import Failed, Server, run

JARS = Path("/usr/share/java")
HEAP_MIB = 1000  # What upstream's zkServer.sh allows; Debian's unit leaves a quarter of the machine's memory.

# Beside Debian's zoo.cfg: no port for administration (8080), and more connections from one address than 60.
CONFIG = """\
tickTime=2000
initLimit=10
syncLimit=5
dataDir={folder}/data
clientPort={port}
clientPortAddress=127.0.0.1
maxClientCnxns=0
admin.enableServer=false
"""


class ZooKeeperServer(Server):
    title = "ZooKeeper"

    def prepare(self):
        config = self.folder / "zoo.cfg"
        config.write_text(CONFIG.format(folder=self.folder, port=self.port))
        # The manifest of zookeeper.jar names the jars it needs; the other prints what goes wrong at start.
        return ["java", f"-Xmx{HEAP_MIB}m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                "-cp", f"{JARS}/zookeeper.jar:{JARS}/slf4j-simple.jar",
                "org.apache.zookeeper.server.quorum.QuorumPeerMain", config]

    def answers(self):
        return "Mode: standalone" in self.ask()

    def ask(self):
        """The answer to srvr, the one word for administrators that is allowed as shipped."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as s:
            s.sendall(b"srvr")
            answer = b""
            while part := s.recv(4096):
                answer += part
        return answer.decode()

    def transactions(self):
        return int(re.search(r"Zxid: 0x([0-9a-f]+)", self.ask())[1], 16)


class SetsAreTransactions:
    """Each set that was answered, and nothing else, must have made a transaction."""

    def __init__(self, server):
        self.server, self.before = server, 0

    def begin(self):
        self.before = self.server.transactions()

    def end(self, done):
        made = self.server.transactions() - self.before
        if made != done:
            raise Failed(f"{done} sets were answered but {made} transactions were made")


class ZooKeeper(Rival):
    title = "ZooKeeper"
    settings = (f"one server as shipped: every transaction is flushed before it is answered (forceSync=yes), a "
                f"snapshot after 100,000 of them (snapCount); a Java heap of at most {HEAP_MIB:,} MiB, warmed up for "
                f"3 s; driven by kazoo, and it is Python that bounds the rates")
    works = (*KEY_WORKS, *TURN_WORKS, "election-16")

    def version(self):
        jar = next((j.stem for j in JARS.glob("zookeeper-[0-9]*.jar")), "zookeeper-?")
        java = re.search(r"\S+ [\d.+]+", run(["java", "--version"], 20))
        return f"{jar.removeprefix('zookeeper-')} on {java[0] if java else 'Java'}"

    def missing(self):
        return ([] if (JARS / "zookeeper.jar").exists() else ["libzookeeper-java"]) + (
            [] if shutil.which("java") else ["default-jre-headless"])

    def start(self, data_root):
        return ZooKeeperServer(data_root)

    def drive(self, server, kind, loops, seconds, value_size):
        check = SetsAreTransactions(server) if kind == "put" else None
        # Java compiles what is hot while it runs, so it gets longer than the others.
        work = workers.Work("zookeeper_client", kind, loops, value_size, keys_for(value_size), warm_up=3)
        return workers.measure(server, work, seconds, check)
