"""The window of time in which operations count, and the figures made of what was counted in it."""
import time

from .server import Failed


def sleep_until(nanoseconds):
    """Until the monotonic clock, which all processes share, says so."""
    time.sleep(max(0, nanoseconds - time.monotonic_ns()) / 1e9)


def percentile(ascending, quantile):
    return ascending[min(len(ascending) - 1, int(len(ascending) * quantile))]


def figures(nanoseconds, seconds, used, client_cpu_seconds, memory_mib):
    """`nanoseconds` is how long each operation took that ended in a window of `seconds`; `used` is the server's Usage
    in it."""
    count = len(nanoseconds)
    if not count:
        raise Failed("no operation ended while it was measured; measure for longer")
    ascending = sorted(nanoseconds)
    found = {"rate": count / seconds, **per_operation(count, used, client_cpu_seconds), "rss": memory_mib}
    for name, quantile in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)):
        # Of fewer operations the percentile would be the greatest, which says nothing.
        if count * (1 - quantile) >= 1:
            found[name] = percentile(ascending, quantile) / 1e6
    return found


def per_operation(count, used, client_cpu_seconds):
    found = {"cpu": used.cpu_seconds * 1e6 / count, "client": client_cpu_seconds * 1e6 / count}
    return found if used.written_bytes is None else {**found, "written": used.written_bytes / count}
