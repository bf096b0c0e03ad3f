"""Measures one work on one rival and prints the figures as JSON: python -m rivals WORK RIVAL [--seconds S]"""
import argparse
import json
import signal
import sys
from pathlib import Path

from . import RIVALS, Failed

ROOT = Path(__file__).resolve().parents[3]


def main():
    p = argparse.ArgumentParser(prog="rivals", description=__doc__)
    p.add_argument("work", choices=sorted({w for r in RIVALS.values() for w in r.works}))
    p.add_argument("rival", choices=RIVALS)
    p.add_argument("--seconds", type=float, default=5, help="length of the measurement (default 5)")
    p.add_argument("--value-size", type=int, default=128)
    p.add_argument("--data-root", type=Path, default=ROOT / ".build-bench", help="where data folders are made")
    args = p.parse_args()
    if not 0 < args.seconds <= 600 or not 1 <= args.value_size <= 100 << 10:
        p.error("seconds must be up to 600, value-size 1 to 102,400")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rival = RIVALS[args.rival]
    try:
        found = rival.measure(args.work, args.seconds, args.data_root, args.value_size)
    except Failed as problem:
        sys.exit(f"rivals: {problem}")
    except KeyboardInterrupt:
        sys.exit("rivals: interrupted; the server is stopped")
    print(json.dumps({"rival": rival.title, "version": rival.version(), "work": args.work, **found}))


if __name__ == "__main__":
    main()
