"""The disk fills up under a server, and room comes back."""

import random
import subprocess
import time

import grpc

from harness.server import Server

from .history import History
from .starting import clear_line, try_start
from .verify import Problems, Recovery
from .volumes import Volume
from .workload import Workload

SIZE = 320 << 20
ANSWERED_WITHIN = 10.0  # Seconds for a write on a full disk to be answered.
BACK_WITHIN = 15.0  # Seconds for writes to succeed once there is room.
REFUSED_WITHIN = 60.0  # Seconds for a full disk to be noticed: what was allocated before is used up first.
FLUSH_FAILS_WITHIN = 4.0  # Seconds after which the log is filled as well, when it was to be the store first.
ROUNDS_A_DISK = 6  # Then a new one, so that history stays short.

ENDINGS = ["room comes back", "room comes back", "killed while full", "killed while full, started while full"]


class Disk:
    """One volume, one data folder on it, one record over many rounds."""

    def __init__(self, rig, kind, number):
        seed = f"{rig.seed} full {number}"
        self.rig = rig
        self.random = random.Random(seed)
        self.volume = Volume(rig, f"full-{number}", kind, SIZE)
        self.server = Server(self.volume.path / "data", log_level="notice", **rig.flags(flush_interval="1s"))
        self.server.log_path = rig.folder / f"full-{number}.log"
        rig.on_exit(self.server.kill)
        self.history = History(seed)
        self.workload = Workload(
            self.history, seed, lockers=1, patient=True, answer_within=ANSWERED_WITHIN
        )
        self.recovery = Recovery(self.history)
        self.rounds = 0

    def remove(self):
        self.workload.stop()
        self.server.kill()
        self.volume.remove()

    def round(self, ending):
        """Returns (what happened in words, problems)."""
        problems, told = Problems(), []
        self.rounds += 1
        workload, volume, server = self.workload, self.volume, self.server
        if not server.is_running():
            server.start()
        workload.failures.clear()
        workload.watches_broken = 0
        # What is full first, the log or the store, decides what fails.
        filling = self.random.random() < 0.6
        workload.start(server.address, filling)
        time.sleep(self.random.uniform(0.2, 1.5))
        volume.fill(leave=self.random.choice([0, 0, 1 << 20, 9 << 20]))
        began = time.monotonic()
        self.await_refusal()
        volume.fill()
        if workload.failures:
            told.append(f"refused after {time.monotonic() - began:.1f} s")
        elif server.is_running():
            problems(f"no write failed within {REFUSED_WITHIN:.0f} s of a full disk")
        alive = self.still_serves(problems)
        time.sleep(self.random.uniform(0, 1.5))
        self.check_texts(problems, told)
        restarted = not alive
        if ending == "room comes back":
            volume.empty()
            if alive:
                self.await_writes(problems, told)
                if workload.watches_broken and server.is_running():
                    problems(f"{workload.watches_broken} watches broke while the disk was full")
        else:
            server.kill()
            restarted = True
        workload.stop()
        if not restarted and not server.is_running():
            self.note_death(problems)
            restarted = True
        if restarted:
            server.kill()
            if "started while full" in ending:
                told.append(self.start_while_full(problems))
                server.kill()
            volume.empty()
            server.start()
        with server.client() as client:
            found = self.recovery.check(client, workload, restarted=restarted)
            for text in found.texts:
                problems(text)
        return f"{self.volume.kind}, {'log' if filling else 'store'} first, {ending}: {'; '.join(told)}", problems

    def check_texts(self, problems, told):
        """What writers are told says what is wrong with the disk."""
        failures = self.workload.failures.copy()
        for (code, text), count in failures.most_common(2):
            told.append(f"{count} writes were told {code} '{text}'"[:220])
        for code, text in failures:
            if self.server.is_running() and not text.startswith("berth: "):
                problems(f"a write on a full disk was told {code} '{text}', which is not clear")

    def await_refusal(self):
        began = time.monotonic()
        while not self.workload.failures and self.server.is_running():
            took = time.monotonic() - began
            if took > REFUSED_WITHIN:
                return
            if took > FLUSH_FAILS_WITHIN:
                self.workload.fill()
            time.sleep(0.01)

    def still_serves(self, problems):
        """Reads and watches go on while the disk is full."""
        if not self.server.is_running():
            self.note_death(problems)
            return False
        try:
            with self.server.client() as client:
                revision = client.range(b"k/", b"l", timeout=ANSWERED_WITHIN).header.revision
                if revision < self.history.floor - 1000:
                    problems(f"a read on a full disk is of revision {revision}")
                with client.watch() as watch:
                    watch.send_create(b"k/", b"l", start_revision=max(2, self.recovery.ledger.compacted + 1))
                    while not watch.next(ANSWERED_WITHIN).events:
                        pass
        except Exception as error:
            if self.runs_on():
                problems(f"reads do not go on while the disk is full: {type(error).__name__} {error}"[:300])
            else:
                return self.still_serves(problems)
        return True

    def runs_on(self):
        """A server that is about to end gets the time to do so."""
        try:
            self.server.process.wait(5)
        except subprocess.TimeoutExpired:
            return True
        return False

    def note_death(self, problems):
        """The server ended by itself: it should have refused writes and gone on."""
        said = clear_line(self.server.log(), self.server.process.returncode, problems)
        problems(f"the server ended with {self.server.process.returncode} because of the full disk: {said}")

    def await_writes(self, problems, told):
        """Writes of every writer succeed again, without a restart."""
        began = time.monotonic()
        operations = self.history.operations
        backstop = began + 3 * BACK_WITHIN
        waiting = {writer.name for writer in self.workload.writers}
        checked = len(operations)
        while waiting and time.monotonic() < backstop and self.server.is_running():
            for operation in operations[checked:]:
                if operation.outcome == "acknowledged" and operation.begin > began and operation.changed:
                    waiting.discard(operation.actor)
            time.sleep(0.01)
        took = time.monotonic() - began
        if self.server.is_running() and (waiting or took > BACK_WITHIN):
            problems(f"writes had not come back {took:.0f} s after there was room again")
        elif self.server.is_running():
            told.append(f"writes back after {took:.1f} s")

    def start_while_full(self, problems):
        """Either it serves reads, or it refuses in one clear line."""
        server = self.server
        code = try_start(server)
        if code is not None:
            return f"start refused: {clear_line(server.log(), code, problems)}"
        try:
            with server.client() as client:
                revision = client.range(b"k/", b"l", timeout=ANSWERED_WITHIN).header.revision
                if revision < self.history.floor:
                    problems(f"started on a full disk at revision {revision}, but {self.history.floor} had been told")
        except grpc.RpcError as error:
            if server.is_running():
                problems(f"started on a full disk, but reads fail: {error.code().name} {error.details()}")
            else:
                self.note_death(problems)
        return "started while full"


def run(rig, rounds):
    disks = {}
    for round in range(1, rounds + 1):
        kind = ["ext4", "tmpfs"][round % 2]
        if kind in disks and disks[kind].rounds >= ROUNDS_A_DISK:
            disks.pop(kind).remove()
        ending = ENDINGS[(round - 1) // 2 % len(ENDINGS)] if rounds < 8 else rig.random.choice(ENDINGS)
        if kind not in disks:
            disks[kind] = Disk(rig, kind, round)
        disk = disks[kind]
        try:
            told, problems = disk.round(ending)
        except Exception as error:
            problems = Problems()
            problems(f"{type(error).__name__}: {error}"[:1000])
            told = f"{kind}, {ending}"
        if not rig.judge(f"full {round}: {told}", problems):
            disks.pop(kind).remove()
    for disk in disks.values():
        disk.remove()
