"""Reads a record of runs: medians, spreads, and how they are written."""
import statistics

# Percent of the machine's CPU time that other programs may take of a run that counts, while there is another run.
DISTURBED = 8


class Figures:
    """What one record holds, by work and side."""

    def __init__(self, record):
        self.settings, self.runs = record["settings"], {}
        for run in record["runs"]:
            self.runs.setdefault((run["work"], run["side"]), []).append(run)

    def sides(self, work):
        """The sides that have figures of a work, in the order in which they were first measured."""
        return [side for name, side in self.runs if name == work]

    def works(self, prefix):
        """The works whose names begin so, in the order in which they were first measured."""
        return list(dict.fromkeys(name for name, _ in self.runs if name.startswith(prefix)))

    def values(self, work, side, figure):
        runs = [run for run in self.runs.get((work, side), []) if figure in run["figures"]]
        quiet = [run for run in runs if run["others"] <= DISTURBED]
        return [run["figures"][figure] for run in quiet or runs]

    def median(self, work, side, figure):
        values = self.values(work, side, figure)
        return statistics.median(values) if values else None

    def ratio(self, work, side, peer, figure):
        """How many times the peer's figure a side's is; None when either is missing."""
        own, other = self.median(work, side, figure), self.median(work, peer, figure)
        return own / other if own is not None and other else None

    def spread(self, work, side, figure):
        """Lowest and highest; None without a figure."""
        values = self.values(work, side, figure)
        return (min(values), max(values)) if values else None


def text(value):
    """A figure with about three digits."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def ratio_text(value):
    return "-" if value is None else f"{value:.2f} ×"


def spread_text(spread):
    return "-" if spread is None else f"{text(spread[0])}-{text(spread[1])}"


def table(head, rows):
    """Lines of a markdown table; the first column holds words, the rest numbers."""
    marks = ["---"] + ["--:"] * (len(head) - 1)
    return ["| " + " | ".join(cells) + " |" for cells in (head, marks, *rows)] + [""]
