"""Where things are in the source tree."""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[3]
ENVIRONMENT = ROOT / ".build-python"
