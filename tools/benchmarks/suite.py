"""Runs the works: rounds interleaved, the order of the sides reversed each round, a fresh server for every measurement.

What was found is written down after each work, so that a run cut short is not lost: tools/bench --render shows it.
"""
import json
import os
import sys

import catalog
import large
from measuring import Measuring
from peers import Disturbance, Failed, Server

# Both etcd and Berth would refuse writes before many keys and large values are in.
OPTIONS = ["--quota-backend-bytes", str(8 << 30)]


def find_rivals(names):
    """Those of the named rivals that this tree has, by name; None for the names means all of them."""
    try:
        import rivals
    except ImportError as problem:
        note(f"no rivals: {problem}")
        return {}, Failed
    found = {name: rival for name, rival in rivals.RIVALS.items() if names is None or name in names}
    return found, getattr(rivals, "Failed", Failed)


class Suite:
    def __init__(self, args, rivals, rival_failed, record):
        """`record` is the dictionary that is saved; `runs` and `failures` are added to it."""
        self.args, self.rivals, self.rival_failed, self.record = args, rivals, rival_failed, record
        self.measuring = Measuring(args)
        self.weighed = set()  # (work, side) whose bytes written were counted

    def run(self):
        for round_number in range(self.args.rounds):
            for name in self.args.works:
                work = catalog.WORKS[name]
                if round_number < work.rounds:
                    self.one_work(work, round_number)

    def one_work(self, work, round_number):
        sides = catalog.sides_of(work, self.args.servers, self.rivals)
        for side in sides[:: 1 if round_number % 2 == 0 else -1]:
            os.sync()  # What earlier runs left unwritten must not burden this one.
            others = Disturbance()
            try:
                for name, figures in self.figures(work, side):
                    self.add(name, side, round_number, figures, others)
            except Exception as problem:  # Whatever it is, the other figures of a long run must not go with it.
                text = str(problem) if isinstance(problem, (Failed, self.rival_failed)) else repr(problem)
                self.record["failures"].append(f"{work.name}, {side}, round {round_number + 1}: {text}")
                note(f"{round_number + 1}/{self.args.rounds} {work.name} {side}: failed: {text}")
        (self.args.data_root / "figures.json").write_text(json.dumps(self.record, indent=1))

    def add(self, name, side, round_number, figures, others):
        shown = ", ".join(f"{k} {v:,.1f}" for k, v in figures.items())
        note(f"{round_number + 1}/{self.args.rounds} {name:<20} {side:<8} {shown}")
        rounded = {k: float(f"{v:.5g}") for k, v in figures.items()}
        self.record["runs"].append({"work": name, "side": side, "round": round_number + 1,
                                    "others": round(others.percent(), 1), "figures": rounded})

    def figures(self, work, side):
        """Yields (name, figures): one pair of most works, many of the large one."""
        if side in self.rivals:
            yield work.name, self.rivals[side].measure(work.name, self.args.seconds, self.args.data_root,
                                                       value_size=self.args.value_size)
            return
        server_name = catalog.SIDES[side][0]
        cores = work.cores or self.args.cores
        with Server("berth" if server_name == "berth" else "etcd", self.args, OPTIONS,
                    program=self.args.programs[server_name], cores=range(cores) if cores else None) as server:
            if work.group == "large":
                yield from large.measure(self.measuring, server, self.args)
                return
            counts_bytes = not self.args.quick and (work.name, side) not in self.weighed
            figures = self.measuring.measure(work, side, server, counts_bytes=counts_bytes)
            self.weighed.add((work.name, side))
        yield work.name, figures


def note(text):
    print(text, file=sys.stderr, flush=True)
