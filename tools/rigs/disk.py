"""Disks that fill up, turn read-only or lose a bit under a server: refused or recovered, never a wrong answer."""

import sys

from . import rig as rigs
from . import volumes

PARTS = ["full", "readonly", "flip"]


def main():
    options = rigs.parser(__doc__, rounds=None)
    options.add_argument("--only", help=f"some of {','.join(PARTS)}")
    options.add_argument("--short", action="store_true", help="about a minute: fewer rounds; skips what needs root")
    arguments = options.parse_args()
    parts = arguments.only.split(",") if arguments.only else PARTS
    if unknown := set(parts) - set(PARTS):
        options.error(f"--only knows {','.join(PARTS)}, not {','.join(sorted(unknown))}")
    rounds = {"full": 4, "readonly": 4, "flip": 24} if arguments.short else {"full": 20, "readonly": 24, "flip": 300}
    with rigs.Rig("rig-disk", arguments) as rig:
        for part in parts:
            if part != "flip" and not volumes.may_mount():
                if arguments.short:
                    rig.say(f"{part}: skipped and not counted, as it needs root for mounts of its own")
                else:
                    rig.fail(f"{part}: needs root for mounts of its own; run it as root, or leave it out with --only flip")
                continue
            module = __import__(f"rigs.{part}", fromlist=["run"])
            module.run(rig, arguments.rounds or rounds[part])
    return rig.finish()


if __name__ == "__main__":
    sys.exit(main())
