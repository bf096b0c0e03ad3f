"""Debian's etcdctl, run as a user would."""

import json
import os
import subprocess
import threading

BINARY = os.environ.get("ETCDCTL_BIN", "etcdctl")


class Result:
    def __init__(self, completed):
        self.code = completed.returncode
        self.stdout = completed.stdout
        self.stderr = completed.stderr

    @property
    def lines(self):
        return self.stdout.splitlines()

    @property
    def json(self):
        return json.loads(self.stdout)

    def __repr__(self):
        return f"exit {self.code}\nstdout:\n{self.stdout}\nstderr:\n{self.stderr}"


class Etcdctl:
    """Calls against one endpoint: `etcdctl("put", "k", "v")` must succeed, `etcdctl.run(…)` may fail."""

    def __init__(self, url):
        self.url = url

    def command(self, *arguments):
        return [BINARY, "--endpoints", self.url, *arguments]

    def environment(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ETCDCTL_")}
        return environment | {"ETCDCTL_API": "3"}

    def run(self, *arguments, input="", timeout=60):
        return Result(
            subprocess.run(
                self.command(*arguments),
                input=input,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                env=self.environment(),
            )
        )

    def __call__(self, *arguments, **options):
        result = self.run(*arguments, **options)
        assert result.code == 0, f"etcdctl {arguments}: {result}"
        return result

    def start(self, *arguments):
        return Running(self.command(*arguments), self.environment())


class Running:
    """An etcdctl that goes on; its output lines can be awaited."""

    def __init__(self, command, environment):
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        self._lines = []
        self._taken = 0
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for line in self.process.stdout:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def write(self, text):
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def lines(self, count, timeout=60):
        """The next `count` lines of output."""
        with self._changed:
            enough = self._changed.wait_for(lambda: len(self._lines) - self._taken >= count or self._ended, timeout)
            got = self._lines[self._taken : self._taken + count]
            assert enough and len(got) == count, f"wanted {count} lines, got {got}"
            self._taken += count
            return got

    def line(self, timeout=60):
        return self.lines(1, timeout)[0]

    def all_lines(self, timeout=60):
        """Everything that it printed, once it has ended."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._ended, timeout)
            return list(self._lines)

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=60):
        return self.process.wait(timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
