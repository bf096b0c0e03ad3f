"""A data folder that turns read-only, or that the server may not use any more: refused or recovered.

While it lasts the server may refuse writes, go on with what it has open, or end with one clear line; what it acknowledges
has to be there afterwards, and what it serves has to be right. A start on such a folder is refused in one line.
"""

import os
import random
import subprocess
import time

from harness.server import Server
from harness.target import berth_binary

from .full import ANSWERED_WITHIN, BACK_WITHIN
from .history import History
from .starting import clear_line, try_start
from .verify import Problems, Recovery
from .volumes import Volume, run as command
from .workload import Workload

SIZE = 320 << 20
LASTS = 3.0  # Seconds for which a fault lasts at most; it ends sooner when the server has noticed.
NOBODY = 65534


class PlainServer(Server):
    """Run as an unprivileged user, whom file modes bind."""

    def command(self):
        return [
            "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all",
            "--bounding-set=-all", *super().command(),
        ]  # fmt: skip


class Place:
    """A volume with a data folder on it, and its record."""

    def __init__(self, rig, number, plain=False):
        seed = f"{rig.seed} readonly {number}"
        self.random = random.Random(seed)
        self.volume = Volume(rig, f"readonly-{number}", "ext4", SIZE, options="errors=remount-ro")
        self.data = self.volume.path / "data"
        if plain:
            # The way to the folder must be open too, and the program must be one that everyone may run.
            rig.folder.chmod(0o755)
            os.chown(self.volume.path, NOBODY, NOBODY)
        self.server = (PlainServer if plain else Server)(
            self.data, log_level="notice", **rig.flags(flush_interval="500ms", snapshot_count=400)
        )
        self.server.log_path = rig.folder / f"readonly-{number}.log"
        rig.on_exit(self.server.kill)
        self.history = History(seed)
        self.workload = Workload(self.history, seed, lockers=1, patient=True, answer_within=ANSWERED_WITHIN)
        self.recovery = Recovery(self.history)
        self.problems, self.told = Problems(), []

    def remove(self):
        self.workload.stop()
        self.server.kill()
        self.volume.remove()

    def under_load(self, fault, cure, needs_restart=False):
        """`fault` happens to a server under load and lasts a while; then `cure`."""
        server, workload = self.server, self.workload
        server.start()
        workload.start(server.address)
        time.sleep(self.random.uniform(0.3, 1.2))
        fault()
        workload.fill()  # So that the log needs new files.
        deadline = time.monotonic() + LASTS
        while not workload.failures and server.is_running() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(self.random.uniform(0, 0.3))
        self.told.append("writes were refused" if workload.failures else "writes went on")
        self.still_reads()
        ended = self.note_end()
        if needs_restart:
            if not ended:
                workload.stop()
                self.end_in_order()
                ended = True
            self.start_is_refused()
        cure()
        if not ended:
            self.await_writes()
        workload.stop()
        # Whatever was said meanwhile: what is on disk decides.
        self.note_end()
        server.kill()
        server.start()
        self.check()

    def check(self):
        with self.server.client() as client:
            found = self.recovery.check(client, self.workload)
        for text in found.texts:
            self.problems(text)

    def note_end(self):
        """Whether the server has ended by itself, which it has to say why."""
        if self.server.process is None or self.server.is_running():
            return False
        code = self.server.process.returncode
        self.told.append(f"ended: {clear_line(self.server.log(), code, self.problems)}")
        self.server.wait()
        return True

    def end_in_order(self):
        """SIGTERM ends it within the time that ends have, by itself or saying why it could not end well."""
        try:
            code = self.server.stop()
        except RuntimeError as error:
            self.problems(str(error)[:300])
            return
        if code:
            self.told.append(f"stopped: {clear_line(self.server.log(), code, self.problems)}")

    def still_reads(self):
        """A server that lives serves what it has."""
        if not self.server.is_running():
            return
        try:
            with self.server.client() as client:
                client.range(b"k/", b"l", timeout=ANSWERED_WITHIN)
        except Exception as error:
            try:
                self.server.process.wait(5)
            except subprocess.TimeoutExpired:
                self.problems(f"reads do not go on: {type(error).__name__} {error}"[:300])

    def await_writes(self):
        """Cured, writes succeed again, or the server ends and says why."""
        began, checked = time.monotonic(), len(self.history.operations)
        while time.monotonic() < began + 3 * BACK_WITHIN and self.server.is_running():
            if any(
                operation.outcome == "acknowledged" and operation.begin > began
                for operation in self.history.operations[checked:]
            ):
                self.told.append(f"writes back after {time.monotonic() - began:.1f} s")
                return
            time.sleep(0.01)
        if self.server.is_running():
            self.problems(f"no write succeeded within {3 * BACK_WITHIN:.0f} s of the cure")

    def start_is_refused(self):
        code = try_start(self.server)
        if code is None:
            self.problems("started on a folder that it cannot write")
            self.server.kill()
        else:
            self.told.append(f"start refused: {clear_line(self.server.log(), code, self.problems)}")


# The faults


def broken_file_system(place):
    """the file system turns read-only by itself"""
    place.under_load(place.volume.break_down, place.volume.mend, needs_restart=True)


def remounted(place):
    """the volume is remounted read-only between two starts"""
    place.server.start()
    place.workload.start(place.server.address)
    time.sleep(place.random.uniform(0.5, 1.5))
    try:
        place.volume.remount("ro")  # Refused by Linux while files are open for writing.
        place.told.append("remounted while in use")
    except RuntimeError:
        pass
    place.server.kill()
    place.workload.stop()
    place.volume.remount("ro")
    place.start_is_refused()
    place.volume.remount("rw")
    place.server.start()
    place.check()


def immutable(name):
    """Not the lock files that LMDB maps into memory: a write there would be a fault that no program can answer."""

    def fault(place):
        folder = place.data / name

        def change(mode):
            # Files of the log come and go meanwhile.
            targets = [str(path) for path in [folder, *folder.rglob("*")] if path.name != "lock.mdb"]
            subprocess.run(["chattr", "-f", mode, *targets], capture_output=True, timeout=60)

        place.under_load(lambda: change("+i"), lambda: change("-i"))

    fault.__doc__ = f"{name}/ and what is in it become immutable"
    return fault


def forbidden(name, mode):
    def fault(place):
        target = place.data / name

        def begin():
            target.chmod(mode)

        place.under_load(begin, lambda: target.chmod(0o700))

    fault.__doc__ = f"{name or 'the data folder'} is closed to the server, mode {mode:o}"
    fault.plain = True
    return fault


def forbidden_start(name, mode):
    def fault(place):
        place.server.start()
        place.workload.start(place.server.address)
        time.sleep(place.random.uniform(0.3, 1))
        place.server.kill()
        place.workload.stop()
        target = place.data / name
        before = target.stat().st_mode & 0o777
        target.chmod(mode)
        place.start_is_refused()
        target.chmod(before)
        place.server.start()
        place.check()

    fault.__doc__ = f"a start while {name or 'the data folder'} has mode {mode:o}"
    fault.plain = True
    return fault


FAULTS = [
    broken_file_system,
    remounted,
    forbidden("log", 0o500),
    immutable("log"),
    forbidden_start("base/data.mdb", 0o400),
    forbidden("", 0o000),
    forbidden_start("log", 0o500),
    immutable("base"),
    forbidden("log", 0o000),
    forbidden_start("", 0o500),
    forbidden("base", 0o000),
    forbidden_start("base", 0o000),
]


def can_run_plain():
    """Whether an unprivileged user can run this binary: it may lie where only root can go."""
    done = subprocess.run(
        ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", berth_binary(), "--version"],
        capture_output=True,
        timeout=60,
    )
    return done.returncode == 0


def run(rig, rounds):
    plain_works = can_run_plain()
    for round in range(1, rounds + 1):
        fault = FAULTS[(round - 1) % len(FAULTS)]
        plain = getattr(fault, "plain", False)
        name = f"readonly {round}: {fault.__doc__}"
        if plain and not plain_works:
            rig.fail(f"{name}: an unprivileged user cannot run {berth_binary()}; put it where all may")
            continue
        place = None
        try:
            place = Place(rig, round, plain)
            fault(place)
        except Exception as error:
            problems = place.problems if place else Problems()
            problems(f"{type(error).__name__}: {error}"[:800])
        rig.judge(f"{name}; {'; '.join(place.told) if place else ''}", place.problems if place else problems)
        if place:
            command("chattr", "-R", "-f", "-i", str(place.data)) if place.data.exists() else None
            place.remove()
