"""What the rigs share: workloads that record what they did, and checks of a recovered server against the record.

The server processes and the client are those of the end-to-end tests.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "Tests/EndToEnd"))
