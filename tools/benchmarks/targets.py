"""The targets that Berth sets itself, as ratios to etcd 3.5 in the same run, and whether they are reached."""
from dataclasses import dataclass

import catalog
from figures import table, text


@dataclass(frozen=True)
class Target:
    """A ratio that must be and one that should be reached; at most when `is_at_most`, else at least."""

    title: str
    work: str
    figure: str
    unit: str
    must: float
    should: float | None
    is_at_most: bool = False
    side: str = "berth"
    should_absolute: float | None = None  # takes the place of `should` where a figure and not a ratio is aimed at

    def is_reached(self, value, bound):
        return value <= bound if self.is_at_most else value >= bound


def rate(title, work, must, should, side="berth"):
    return Target(title, work, "rate", "per s", must, should, side=side)


def cpu(title, work, must, should):
    return Target(f"{title}, server CPU", work, "cpu", "µs", must, should, True)


TARGETS = [
    Target("put, `h2load` 16 × 16, rate", "h2load-put", "rate", "per s", 3, None, should_absolute=60_000),
    Target("put, 1 loop, p50", "put-1", "p50", "ms", 0.7, 0.5, True),
    rate("put, 16 loops, rate", "put-16", 1.5, 2.5),
    rate("put, 256 loops, rate", "put-256", 1.8, 2.2),
    cpu("put, 256 loops", "put-256", 0.33, 0.25),
    cpu("get, 16 loops", "get-16", 0.3, 0.2),
    cpu("get, 256 loops", "get-256", 0.3, 0.2),
    rate("txn, 64 loops, rate", "txn-64", 1.8, 2.2),
    cpu("txn, 64 loops", "txn-64", 0.35, None),
    Target("watch, 100 watchers, server CPU per put", "watch-100", "cpu per put", "µs", 0.3, 0.15, True),
    rate("lease grant + revoke, 64 loops, rate", "lease-64", 2.5, 5),
    rate("lock + unlock, 64 loops, etcd's client, rate", "lock-64", 1.8, 2.2),
    rate("lock + unlock, 64 loops, Berth's call, rate", "lock-64", 4, 6, "own"),
    rate("hand-offs, 16 waiters, etcd's client, rate", "handoff-16", 1.8, None),
    rate("hand-offs, 16 waiters, Berth's call, rate", "handoff-16", 8, 15, "own"),
    Target("RSS after the whole suite (a mix of all works)", "memory", "after", "MiB", 0.5, 0.3, True),
    Target("start-up with 1,000,000 keys", "start-1000000", "seconds", "s", 0.2, 0.05, True),
]


BEST, GOOD, MISSED, UNKNOWN = "reached", "must reached, should not", "**not reached**", "not measured"


def verdict(target, ratio, value):
    if ratio is None:
        return UNKNOWN
    if not target.is_reached(ratio, target.must):
        return MISSED
    if target.should_absolute is not None:
        is_best = target.is_reached(value, target.should_absolute)
    else:
        is_best = target.should is None or target.is_reached(ratio, target.should)
    return BEST if is_best else GOOD


def lines(figures):
    rows = []
    for target in TARGETS:
        value = figures.median(target.work, target.side, target.figure)
        peer = figures.median(target.work, catalog.PEER, target.figure)
        ratio = figures.ratio(target.work, target.side, catalog.PEER, target.figure)
        sign = "≤" if target.is_at_most else "≥"
        should = f"{sign} {target.should_absolute:,.0f} {target.unit}" if target.should_absolute else (
            f"{sign} {target.should:g} ×" if target.should is not None else "-")
        rows.append([
            target.title, f"{sign} {target.must:g} ×", should, "-" if ratio is None else f"{ratio:.3g} ×",
            text(value), text(peer), target.unit, verdict(target, ratio, value),
        ])
    verdicts = [row[-1] for row in rows]
    if verdicts.count(UNKNOWN) == len(rows):
        return []
    counts = [f"{verdicts.count(BEST)} of {len(rows)} are reached", f"{verdicts.count(GOOD)} as far as they must",
              f"{verdicts.count(MISSED)} are not"]
    if UNKNOWN in verdicts:
        counts.append(f"{verdicts.count(UNKNOWN)} were not measured")
    return [
        "## Targets", "", f"Ratios to etcd 3.5 in the same run. {', '.join(counts)}.", "",
        *table(["work", "must", "should", "Berth / etcd 3.5", "Berth", "etcd 3.5", "unit", "verdict"], rows),
    ]
