"""PostgreSQL: one server as shipped; keys by pgbench, locks by psycopg."""
import os
import re
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

from . import pgbench, workers
from .rival import Rival, keys_for
from .server import Failed, Server, run

USER = "postgres"
CONNECTIONS = 320  # for 256 loops and those that look on; 100 as shipped


def programs():
    """The folder of the newest version's programs, which Debian keeps out of the search path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[4].split(".")[0]))
    return found[-1].parent if found else None


class PostgreSQLServer(Server):
    title = "PostgreSQL"
    user = USER if os.geteuid() == 0 else None  # It refuses to run as root.
    stop_signal = signal.SIGQUIT  # It ends at once, without a checkpoint: the folder goes too.
    many_processes = True

    def __init__(self, data_root):
        super().__init__(data_root)
        # Whoever may connect may run programs as its user, and other users of the machine reach its port.
        self.password = secrets.token_hex(16)
        # Options of whoever runs this could turn durability off.
        self.environment = {"PGPASSWORD": self.password, "PGCONNECT_TIMEOUT": "30", "PGOPTIONS": ""}

    def prepare(self):
        if self.user:
            self.hand_folder_over()
        password = self.folder / "password"
        password.write_text(self.password)
        if self.user:
            shutil.chown(password, self.user)
        data = self.folder / "data"
        run([programs() / "initdb", "-D", data, "-U", USER, "-A", "scram-sha-256", "--pwfile", password, "-E", "UTF8",
             "--locale", "C", "--no-sync"], 60, cwd=self.folder, **self.as_user())
        return [programs() / "postgres", "-D", data, "-p", self.port, "-c", "listen_addresses=127.0.0.1",
                "-c", "unix_socket_directories=", "-c", f"max_connections={CONNECTIONS}",
                "-c", "synchronous_commit=on", "-c", "fsync=on"]

    def hand_folder_over(self):
        try:
            shutil.chown(self.folder, self.user, self.user)
        except LookupError:
            raise Failed(f"there is no user {self.user}, whom Debian's package makes; "
                         f"run tools/install --bench") from None
        seen = subprocess.run(["test", "-w", self.folder], timeout=10, **self.as_user())
        if seen.returncode:
            raise Failed(f"PostgreSQL runs as the user {self.user}, who cannot reach {self.folder}; "
                         f"choose a --data-root whose parent folders all users may enter")

    def answers(self):
        try:
            return self.query("SELECT 1") == "1"
        except Failed:
            return False

    def query(self, text):
        """Runs statements and returns what they select; they go by standard input as a value may be long."""
        return run([programs() / "psql", *self.address(), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"], 120,
                   input=text, env={**os.environ, **self.environment}, cwd=self.folder).strip()

    def address(self):
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", USER]

    def check_settings(self):
        found = self.query("SHOW synchronous_commit; SHOW fsync;").split()
        if found != ["on", "on"]:
            raise Failed(f"PostgreSQL has synchronous_commit and fsync {found}; it would not be durable")


class PostgreSQL(Rival):
    title = "PostgreSQL"
    settings = (f"synchronous_commit on and fsync on, as shipped but for max_connections {CONNECTIONS}; keys by "
                f"pgbench with prepared statements, locks are advisory ones by psycopg, which are kept in memory alone")

    def version(self):
        return re.search(r"PostgreSQL\) (\S+)", run([programs() / "postgres", "--version"], 20))[1]

    def missing(self):
        return [] if programs() and (programs() / "pgbench").exists() else ["postgresql"]

    def start(self, data_root):
        return PostgreSQLServer(data_root)

    def drive(self, server, kind, loops, seconds, value_size):
        server.check_settings()
        if kind in ("put", "get"):
            program = programs() / "pgbench"
            return pgbench.measure(server, program, kind, loops, seconds, value_size, keys_for(value_size))
        work = workers.Work("postgresql_client", kind, loops, environment=tuple(server.environment.items()))
        return workers.measure(server, work, seconds)
