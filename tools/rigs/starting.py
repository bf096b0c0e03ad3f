"""Starts that may be refused, and what is said about it."""

import re
import time

from harness.server import READY_WITHIN

_LOGGED = re.compile(r"\d{4}-\d\d-\d\dT")


def try_start(server):
    """Starts the server. Returns None once it answers, or the exit code with which it refused."""
    server.launch()
    deadline = time.monotonic() + READY_WITHIN
    while not server.is_healthy():
        if server.process.poll() is not None:
            return server.wait()
        if time.monotonic() > deadline:
            log = server.log()
            server.kill()
            raise RuntimeError(f"neither ready nor refused within {READY_WITHIN:.0f} s: {last_line(log)}")
        time.sleep(0.01)
    return None


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "nothing was said"


def clear_line(log, code, problems):
    """The one line that says why the server ended with `code`; tells when there is none, or more, or a crash."""
    lines = [line for line in log.splitlines() if line.strip() and not _LOGGED.match(line)]
    lines = [line for line in lines if not line.startswith("berth ready:")]
    if code is None or code < 0:
        problems(f"the server died by signal {code and -code}: {last_line(log)}")
    elif code == 0:
        problems("the server ended with 0 as if all were well")
    elif len(lines) != 1 or "Fatal error" in lines[0] or ".swift" in lines[0]:
        problems(f"expected one clear line, got {len(lines)}: {' | '.join(lines)[:400]}")
    return lines[-1][:220] if lines else last_line(log)
