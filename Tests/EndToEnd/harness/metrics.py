"""What `/metrics` says, read as strictly as Prometheus and promtool read it."""

import http.client
import math
import re
import time

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count")}


class Metrics:
    """One scrape. `value(name, label=…)` sums the series that have these labels; a name without a series is an error."""

    def __init__(self, text):
        assert text.endswith("\n")
        self.types, self.helps, self.series = {}, {}, {}
        current = None
        for line in text.splitlines():
            if line.startswith("# HELP "):
                _, _, name, text_ = line.split(" ", 3)
                assert name not in self.helps, f"two headings: {line}"
                assert text_.strip(), line
                self.helps[name] = text_
                current = name
            elif line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name == current and name not in self.types, line
                assert kind in ("counter", "gauge", "histogram", "summary", "untyped"), line
                self.types[name] = kind
            else:
                self._add(line, current)
        for name, kind in self.types.items():
            if kind == "histogram":
                self._check_histogram(name)
        assert self.types.keys() == self.helps.keys()
        empty = self.types.keys() - {family for family, _, _ in self.series.values()}
        assert not empty, f"headings without a series: {empty}"

    def _add(self, line, family):
        match = SAMPLE.fullmatch(line)
        assert match and family in self.types, line
        name, labels, number = match.groups()
        assert name in [family + suffix for suffix in SUFFIXES.get(self.types[family], ("",))], line
        pairs = LABEL.findall(labels or "")
        assert "".join(f'{k}="{v}",' for k, v in pairs) == (labels + "," if labels else ""), line
        assert len(dict(pairs)) == len(pairs), f"a label twice: {line}"
        key = name, frozenset(pairs)
        assert key not in self.series, f"a series twice: {line}"
        self.series[key] = family, dict(pairs), float(number.replace("Inf", "inf"))

    def _check_histogram(self, family):
        groups = {}
        for (name, _), (_, labels, value) in self.series.items():
            if name.startswith(family) and self.series[name, frozenset(labels.items())][0] == family:
                rest = frozenset((k, v) for k, v in labels.items() if k != "le")
                groups.setdefault(rest, {}).setdefault(name[len(family) :], []).append((labels.get("le"), value))
        for group in groups.values():
            buckets = sorted((float(le.replace("Inf", "inf")), value) for le, value in group["_bucket"])
            counts = [count for _, count in buckets]
            assert counts == sorted(counts), f"{family}: buckets are not cumulative"
            assert math.isinf(buckets[-1][0]) and counts[-1] == group["_count"][0][1], family
            assert len(group["_sum"]) == 1, family

    def value(self, name, **labels):
        found = [
            value
            for (series, _), (_, pairs, value) in self.series.items()
            if series == name and labels.items() <= pairs.items()
        ]
        assert found, f"no series {name} {labels}"
        return sum(found)

    def get(self, name, **labels):
        """As `value`; 0 when there is no such series."""
        return self.value(name, **labels) if any(series == name for series, _ in self.series) and any(
            series == name and labels.items() <= pairs.items()
            for (series, _), (_, pairs, _) in self.series.items()
        ) else 0

    def label_names(self, family):
        """The label names that the series of a family have, without a bucket's `le`."""
        return {frozenset(labels) - {"le"} for found, labels, _ in self.series.values() if found == family}

    def bounds(self, family):
        """Upper bounds of a histogram."""
        found = {
            labels["le"] for (name, _), (_, labels, _) in self.series.items() if name == family + "_bucket"
        }
        return sorted(float(le.replace("Inf", "inf")) for le in found)


def get(port, path="/metrics"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.getheader("content-type"), response.read().decode()
    finally:
        connection.close()


def scrape(server):
    status, kind, text = get(server.port)
    assert status == 200 and kind.startswith("text/plain; version=0.0.4"), (status, kind)
    return Metrics(text)


def scrape_until(server, condition, within=60.0):
    """Scrapes until `condition(metrics)` holds: for what the server notices a moment later, as the end of a stream."""
    deadline = time.monotonic() + within
    while True:
        metrics = scrape(server)
        if condition(metrics):
            return metrics
        assert time.monotonic() < deadline, "the metrics did not come to what was expected"
        time.sleep(0.02)  # A scrape is the only way to ask.
