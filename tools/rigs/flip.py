"""One bit of a data folder is flipped: it is refused, or what is served is right.

What may become of a flip:

    refused     the start ends with one clear line and nothing was overwritten; when the start met damage in base after
                it had begun to open the log, with the bit flipped back everything is there
    right       everything is served as it was: the bit did not matter
    stopped     right answers, until the server met the damage and ended with one clear line
    told        right answers, and an error that tells of the damage where no right answer could be given
    tail        the flip hit the last batch of the log, and a sector of that batch holds only zeros, so that it looks like
                a write that a power cut tore: that batch alone is missing; any other last batch has to be refused
"""

import collections
import hashlib
import math
import os
import random
import shutil
import time

import grpc

from harness.server import Server

from . import segment
from .history import History
from .starting import clear_line, try_start
from .verify import AFTERWARDS, HistoryUnreadable, Problems, Recovery, check_image
from .workload import Compactor, Workload

TELLING = ("DATA_LOSS", "INTERNAL", "UNAVAILABLE", "UNKNOWN", "ABORTED")  # Codes that may tell of damage.


def kind_of(name):
    """The kind of a file of the data folder, or None for one that is made anew at every start."""
    folder, _, file = name.rpartition("/")
    if folder == "log":
        if file.startswith("open-"):
            return "log/open segment"
        if file.startswith("metadata"):
            return f"log/{file}"
        if file.startswith("snapshot-"):
            return "log/snapshot .meta" if file.endswith(".meta") else "log/snapshot"
        if "-" in file and file.replace("-", "").isdigit():
            return "log/closed segment"
        return f"log/{file}"
    if folder.startswith("young"):
        return "young layer"
    return name


def remade(name):
    """Made anew at every start: no loss when it is other after a refusal."""
    return name == "lock" or name.startswith("young-") or name.endswith("lock.mdb")


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def fingerprint(folder):
    found = {}
    for name in files(folder):
        if not remade(name):
            with open(folder / name, "rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


class Original:
    """A data folder with something in every kind of file, and the record of how it came to be."""

    def __init__(self, rig, number):
        seed = f"{rig.seed} flip {number}"
        self.random = random.Random(seed)
        self.folder = rig.folder / f"flip-{number}"
        self.server = Server(
            self.folder, log_level="notice", **rig.flags(flush_interval="1s", snapshot_count=400)
        )
        rig.on_exit(self.server.kill)
        self.history = History(seed)
        self.workload = Workload(self.history, seed, writers=3, lockers=1, recipes=0)
        recovery = Recovery(self.history)
        # A second life brings the other one of the log's metadata files.
        self.server.start()
        self.workload.start(self.server.address)
        self.await_that(lambda: self.history.floor > 50)
        self.server.kill()
        self.workload.stop()
        self.server.start()
        self.workload.start(self.server.address)
        # Long enough for a flush, so that the store has most of it, and a good deal of log behind it.
        self.await_flush()
        time.sleep(1)
        Compactor(self.workload, self.history.floor // 2).compact(self.server.address)
        self.await_flush()
        time.sleep(0.5)
        if rig.flags(snapshot_count=0):
            self.await_that(lambda: any((self.folder / "log").glob("snapshot-*.meta")))
        if number % 2 == 1:
            self.server.kill()
            self.workload.stop()
            self.ending = "killed"
        else:
            self.workload.stop()
            self.server.stop()
            self.ending = "stopped"
        self.untouched = fingerprint(self.folder)
        # What it holds is settled by a start of a copy, which has to be right as well.
        copy = Copy(rig, self)
        copy.server.start()
        with copy.server.client() as client:
            self.problems = recovery.check(client, self.workload)
        copy.server.kill()
        copy.remove()
        self.ledger = recovery.ledger
        self.leases = recovery.leases
        self.kinds = collections.defaultdict(list)
        for name in files(self.folder):
            if os.path.getsize(self.folder / name):
                self.kinds[kind_of(name)].append(name)

    def await_flush(self):
        path = self.folder / "base/data.mdb"
        before = os.stat(path).st_mtime_ns
        self.await_that(lambda: os.stat(path).st_mtime_ns != before)

    def await_that(self, condition):
        deadline = time.monotonic() + 60
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)


class Copy:
    numbers = 0

    def __init__(self, rig, original):
        Copy.numbers += 1
        self.folder = rig.folder / f"copy-{Copy.numbers}"
        for name in files(original.folder):
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            copy_sparsely(original.folder / name, target)
        for path in [self.folder, *self.folder.rglob("*")]:
            path.chmod(0o700 if path.is_dir() else 0o600)
        self.server = Server(self.folder, log_level="notice")
        rig.on_exit(self.server.kill)

    def flip(self, name, bit):
        with open(self.folder / name, "r+b") as file:
            file.seek(bit // 8)
            byte = file.read(1)[0]
            file.seek(bit // 8)
            file.write(bytes([byte ^ 1 << bit % 8]))

    def remove(self):
        shutil.rmtree(self.folder)
        self.server.log_path.unlink(missing_ok=True)


def copy_sparsely(source, target):
    """Copies the parts of a file that hold data: what was preallocated and never written stays a hole."""
    with open(source, "rb") as reader, open(target, "wb") as writer:
        size = os.fstat(reader.fileno()).st_size
        place = 0
        while place < size:
            chunk = reader.read(1 << 20)
            if chunk.count(0) != len(chunk):
                writer.seek(place)
                writer.write(chunk)
            place += len(chunk)
        writer.truncate(size)


class Flip:
    """One flip of one bit, and what became of it."""

    def __init__(self, rig, original, kind):
        draw = original.random
        self.original = original
        self.kind = kind
        self.name = draw.choice(original.kinds[kind])
        data = (original.folder / self.name).read_bytes()
        # Mostly where something is written; what is preallocated is many times as long.
        used = len(data.rstrip(b"\0")) or len(data)
        if kind == "base/data.mdb" and draw.random() < 0.15:
            used = min(used, 8192)  # The pages from which all others are found.
        limit = used if draw.random() < 0.9 else len(data)
        self.bit = draw.randrange(8 * limit)
        self.tail = self.entries_excused(data) if kind == "log/open segment" else 0
        self.again = draw.random() < 0.3
        self.copy = Copy(rig, original)
        self.copy.flip(self.name, self.bit)

    def entries_excused(self, data):
        """How many entries may be missing: those of the last batch, when the flip is in it and nothing tells it from a
        torn write, as docs/log-recovery.md has it."""
        found = segment.batches(data)
        written = [name for name in self.original.kinds[self.kind] if self.has_batches(name)]
        last = max((int(name.rpartition("-")[2]) for name in written), default=-1)
        if not found or not self.name.endswith(f"-{last}"):
            return 0
        start, length, entries = found[-1]
        if not start <= self.bit // 8 < start + length:
            return 0
        flipped = bytearray(data)
        flipped[self.bit // 8] ^= 1 << self.bit % 8
        return entries if segment.lacks_sector(flipped, start, start + length) else 0

    def has_batches(self, name):
        with open(self.original.folder / name, "rb") as file:
            return file.read(16).strip(b"\0") != b""

    def run(self):
        """Returns (outcome, detail, problems)."""
        problems = Problems()
        server = self.copy.server
        before = fingerprint(self.copy.folder)
        code = try_start(server)
        if code is not None:
            line = clear_line(server.log(), code, problems)
            after = fingerprint(self.copy.folder)
            changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
            if changed and not (self.kind.startswith("base/") and all(name.startswith("log/") for name in changed)):
                problems(f"refused, but overwrote {', '.join(changed)}")
            elif changed:
                self.undo(problems)
            return "refused", line, problems
        try:
            outcome, detail = self.serve(problems)
        except (grpc.RpcError, HistoryUnreadable) as error:
            outcome, detail = self.judge_error(error, problems)
        if server.process is not None and not server.is_running() and outcome != "stopped":
            outcome, detail = self.judge_end(problems)
        server.kill()
        return outcome, detail, problems

    def undo(self, problems):
        """A start may close the log's segments before it meets damage in base: that must have lost nothing."""
        self.copy.flip(self.name, self.bit)
        self.copy.server.start()
        with self.copy.server.client() as client:
            self.check(client, problems)

    def serve(self, problems):
        """Everything is read, then written on; and once more after a restart, as damage may spread with a flush."""
        ledger, server = self.original.ledger, self.copy.server
        with server.client() as client:
            self.check(client, problems)
            lost = ledger.last - client.revision()
            if not problems:
                for number in range(20):
                    client.put(AFTERWARDS + b"%d" % number, b"%d" % number, timeout=30)
                if client.prefix(AFTERWARDS).count != 20:
                    problems("what was written after the start is not there")
        if not problems and self.again:
            code = server.stop()
            if code:
                return "stopped", clear_line(server.log(), code, problems)
            code = try_start(server)
            if code is not None:
                return "stopped", clear_line(server.log(), code, problems)
            with server.client() as client:
                self.check(client, problems)
        return ("tail", f"{lost} revisions of the last write are missing") if lost > 0 else ("right", "")

    def check(self, client, problems):
        original = self.original
        found = check_image(
            client, original.history, original.ledger, math.inf, original.random, self.tail, raising=True
        )
        for text in found.texts:
            problems(text)

    def judge_error(self, error, problems):
        server = self.copy.server
        try:
            server.process.wait(5)
        except Exception:
            pass
        if not server.is_running():
            return self.judge_end(problems)
        if isinstance(error, grpc.RpcError):
            text = f"{error.code().name}: {error.details()}"
            if error.code().name not in TELLING:
                problems(f"a read was refused with {text}")
        else:
            text = str(error)
            if not any(code in text for code in TELLING):
                problems(text)
        return "told", text[:200]

    def judge_end(self, problems):
        return "stopped", clear_line(self.copy.server.log(), self.copy.server.process.returncode, problems)


FLIPS_A_FOLDER = 40


def draw_kind(rig, round, kinds):
    """The store is where most bits are; of the log every kind has its turn; what is made anew at every start, seldom."""
    if round % 3 == 0:
        return "base/data.mdb"
    anew = [kind for kind in kinds if kind in ("lock", "young layer") or kind.endswith("lock.mdb")]
    if round % 10 == 1:
        return rig.random.choice(anew)
    rest = [kind for kind in kinds if kind not in anew and kind != "base/data.mdb"]
    return rest[round * 2 // 3 % len(rest)]


def run(rig, rounds):
    counts = collections.defaultdict(collections.Counter)
    original, number = None, 0
    for round in range(1, rounds + 1):
        if original is None or (round - 1) % FLIPS_A_FOLDER == 0:
            if original:
                shutil.rmtree(original.folder)
            number += 1
            original = Original(rig, number)
            if original.problems:
                rig.fail(f"flip: the folder of round {round} is wrong before any flip", original.problems)
                return
            kinds = sorted(original.kinds)
            for kind in kinds:
                counts[kind]  # Named in the end, even when no flip met it.
            rig.say(
                f"flip: a folder of {len(original.history.operations)} operations up to revision"
                f" {original.ledger.last}, {original.ending}: "
                + ", ".join(f"{kind} ({len(original.kinds[kind])})" for kind in kinds)
            )
        kind = draw_kind(rig, round, kinds)
        flip = Flip(rig, original, kind)
        try:
            outcome, detail, problems = flip.run()
        except Exception as error:
            outcome, detail, problems = "broken", "", Problems()
            problems(f"{type(error).__name__}: {error}"[:600])
        flip.copy.server.kill()
        if problems:
            outcome = {"right": "WRONG ANSWERS", "tail": "LOST MORE THAN IT MAY"}.get(outcome, f"{outcome} NOT CLEANLY")
        counts[kind][outcome] += 1
        line = f"flip {round}: {flip.name}, byte {flip.bit // 8} bit {flip.bit % 8}: {outcome}"
        rig.judge(line + (f", {detail}" if detail else ""), problems)
        if problems and rig.keep:
            rig.kept.append(flip.copy.folder)
        else:
            flip.copy.remove()
    for kind, outcomes in sorted(counts.items()):
        rig.say(f"flip: {kind:22} " + ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())))
