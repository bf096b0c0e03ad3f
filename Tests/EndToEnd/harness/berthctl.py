"""Berth's own command line, run as a user would."""

import os
import subprocess

from .etcdctl import Result, Running
from .target import berth_binary


class Berth:
    """Calls against one endpoint: `berth("put", "k", "v")` must succeed, `berth.run(…)` may fail."""

    def __init__(self, url):
        self.url = url

    def command(self, *arguments):
        return [berth_binary(), *map(str, arguments)]

    def environment(self):
        plain = {name: value for name, value in os.environ.items() if not name.startswith("BERTH_")}
        return plain | {"BERTH_ENDPOINTS": self.url}

    def run(self, *arguments, input="", timeout=60):
        return Result(
            subprocess.run(
                self.command(*arguments),
                input=input,
                capture_output=True,
                text=True,
                timeout=timeout,
                env=self.environment(),
            )
        )

    def __call__(self, *arguments, **options):
        result = self.run(*arguments, **options)
        assert result.code == 0, f"berth {arguments}: {result}"
        return result

    def start(self, *arguments):
        return Running(self.command(*arguments), self.environment())
