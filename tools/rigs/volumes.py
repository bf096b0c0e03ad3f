"""Small disks of the rig's own: mounted, filled, made read-only, and taken away again whatever happens."""

import os
import pathlib
import subprocess
import tempfile

from .rig import free_space


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


class Volume:
    """An empty file system of `size` bytes at `path`: kind `tmpfs`, or `ext4` on a loop device over a file."""

    def __init__(self, rig, name, kind, size, options=""):
        self.kind = kind
        self.path = rig.folder / f"{name}-mount"
        self.image = rig.folder / f"{name}.image"
        self.options = options
        self.size = size
        self.mounted = False
        self.path.mkdir()
        rig.on_exit(self.remove)
        if kind == "ext4":
            with open(self.image, "wb") as image:
                image.truncate(size)
            run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,nodiscard", str(self.image))
        self.mount()

    def mount(self, options=""):
        options = ",".join(filter(None, [self.options, options]))
        if self.kind == "tmpfs":
            run("mount", "-t", "tmpfs", "-o", f"size={self.size}", "berth-rig", str(self.path))
        else:
            run("mount", "-o", "loop" + (f",{options}" if options else ""), str(self.image), str(self.path))
        self.mounted = True

    def unmount(self):
        if self.mounted:
            try:
                run("umount", str(self.path))
            except RuntimeError:
                run("umount", "--lazy", str(self.path))
            self.mounted = False

    def remount(self, mode):
        run("mount", "-o", f"remount,{mode}", str(self.path))

    def device(self):
        """The name of the loop device, such as loop3."""
        return pathlib.Path(run("findmnt", "-n", "-o", "SOURCE", str(self.path)).strip()).name

    def break_down(self):
        """The file system finds itself damaged and goes read-only under whoever uses it, as a failing disk makes it.

        Mounted with errors=remount-ro. It is writable again once it was unmounted and checked.
        """
        pathlib.Path(f"/sys/fs/ext4/{self.device()}/trigger_fs_error").write_text("1")

    def mend(self):
        self.unmount()
        # 1: errors were corrected.
        done = subprocess.run(["e2fsck", "-fy", str(self.image)], capture_output=True, text=True, timeout=120)
        if done.returncode not in (0, 1):
            raise RuntimeError(f"e2fsck: {done.stdout}{done.stderr}")
        self.mount()

    def remove(self):
        self.unmount()
        self.image.unlink(missing_ok=True)

    # Filling

    @property
    def ballast(self):
        return self.path / "ballast"

    def fill(self, leave=0):
        """Takes all room but about `leave` bytes."""
        free = free_space(self.path) - leave
        with open(self.ballast, "ab") as ballast:
            start = ballast.tell()
            while free > 4096:
                try:
                    os.posix_fallocate(ballast.fileno(), start, free)
                    start += free
                    free = free_space(self.path) - leave
                except OSError:
                    free //= 2
            if leave:
                return
            try:
                while True:
                    os.write(ballast.fileno(), bytes(4096))
            except OSError:
                pass

    def empty(self):
        self.ballast.unlink(missing_ok=True)


def may_mount():
    if os.geteuid() != 0 or subprocess.run(["losetup", "--find"], capture_output=True).returncode != 0:
        return False
    # Root within a container may be without the right to mount.
    with tempfile.TemporaryDirectory() as folder:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True).returncode != 0:
            return False
        subprocess.run(["umount", folder], check=True)
    return True
