"""What a disk may hold after a power cut: a model of files and folders, fed with recorded events.

Each file has what is surely on disk (`pages`, `size`) and what was asked for since and may be there or not, in order:
writes, and changes of its size. Each folder has the names surely in it and the changes of names since, in order.

A flush that has ended makes durable what had ended on that file when the flush began; a write through a descriptor
opened with O_DSYNC flushes the pages it touches, and the file's size, when it ends. A flush of a folder makes the
changes of its names durable that came before it, and nothing else does: the flush of a file does not bring its name.

A crash leaves of the rest, chosen at random:

- of each page of 4 KiB any version that one of the writes to it has made, the last, an earlier or the durable one, each
  page for itself; or a torn page, with the sectors of 512 bytes before some boundary from one version and those behind
  it from another. A write that had begun counts as one that may be there.
- of each file's changes of size the first few, in order, as they go through the file system's journal. Space that was
  allocated or skipped and not written reads as zeros. What lies beyond the size is gone.
- of each folder's changes of names the first few, in order, for the same reason. Folders do not wait for each other.

This is more than one particular file system does: ext4 commits one journal for all folders, in order, and with it the
name of a new file that is flushed. What survives here survives there.
"""

import os

from . import trace

PAGE = 4096
SECTOR = 512
ZEROS = bytes(PAGE)


class Write:
    """A write that is not surely on disk yet, or not all of its pages."""

    __slots__ = ("file", "offset", "data", "durable", "ended", "growth", "left")

    def __init__(self, file, offset, data, durable):
        self.file = file
        self.offset = offset
        self.data = data
        self.durable = durable
        self.ended = False
        self.growth = None  # The change of size that comes with it.
        self.left = self.pages()  # Pages that are not flushed.

    @property
    def end(self):
        return self.offset + len(self.data)

    def pages(self):
        return set(range(self.offset // PAGE, (self.end - 1) // PAGE + 1)) if len(self.data) else set()


class Resize:
    """A change of a file's size. `at_least`: it only grows the file."""

    __slots__ = ("size", "at_least", "ended")

    def __init__(self, size, at_least, ended=True):
        self.size = size
        self.at_least = at_least
        self.ended = ended

    def of(self, size):
        return max(size, self.size) if self.at_least else self.size


def with_piece(page, write, number):
    """A page with the part of a write that lies in it."""
    start = number * PAGE
    first, last = max(write.offset, start), min(write.end, start + PAGE)
    piece = write.data[first - write.offset : last - write.offset]
    if last - first == PAGE:
        return bytes(piece)
    return b"".join((page[: first - start], piece, page[last - start :]))


class File:
    def __init__(self):
        self.pages = {}
        self.size = 0
        self.pending = []  # Write and Resize, in the order in which they began.

    # Recording

    def begin_write(self, offset, data, durable):
        write = Write(self, offset, data, durable)
        if write.end > self.volatile_size():
            write.growth = Resize(write.end, at_least=True, ended=False)
            self.pending.append(write.growth)
        self.pending.append(write)
        return write

    def end_write(self, write, result):
        if result < len(write.data):
            # A failed or short write: what there is of it counts.
            write.data = write.data[: max(result, 0)]
            write.left = write.pages()
            if write.growth:
                write.growth.size = write.end if result > 0 else 0
        write.ended = True
        if write.growth:
            write.growth.ended = True
        if write.durable:
            self.flush(self.ended(), write.pages())

    def resize(self, size, at_least=False):
        self.pending.append(Resize(size, at_least))

    def punch(self, offset, length):
        """A hole, which reads as zeros. Like a write of them: a long one may be there in part."""
        length = min(length, self.volatile_size() - offset)
        if length > 0:
            self.begin_write(offset, memoryview(bytes(length)), False).ended = True

    def volatile_size(self):
        size = self.size
        for item in self.pending:
            if isinstance(item, Resize):
                size = item.of(size)
        return size

    def ended(self):
        """What a flush that begins now makes durable, by identity."""
        return {id(item): item for item in self.pending if item.ended}

    def flush(self, ended, pages=None):
        """Makes durable what is among `ended` and not so yet: sizes, and data within `pages`, or all."""
        rest = []
        for item in self.pending:
            if id(item) not in ended:
                rest.append(item)
            elif isinstance(item, Resize):
                self._set_size(item.of(self.size))
            else:
                flushed = item.left if pages is None else item.left & pages
                for number in flushed:
                    self.pages[number] = with_piece(self.pages.get(number, ZEROS), item, number)
                item.left = item.left - flushed
                if item.left:
                    rest.append(item)
        self.pending = rest

    def _set_size(self, size):
        if size < self.size:
            last = size // PAGE
            for number in [number for number in self.pages if number >= last]:
                if number == last and size % PAGE:
                    self.pages[number] = self.pages[number][: size % PAGE] + bytes(PAGE - size % PAGE)
                else:
                    del self.pages[number]
        self.size = size

    # Crashing

    def remains(self, chance):
        """(pages, size) after a crash."""
        if not self.pending:
            return self.pages, self.size
        result = File()
        result.pages, result.size = dict(self.pages), self.size
        resizes = [item for item in self.pending if isinstance(item, Resize)]
        kept = set(map(id, resizes[: chance.prefix(len(resizes))]))
        versions = {}
        for item in self.pending:
            if isinstance(item, Write):
                for number in item.left:
                    known = versions.setdefault(number, [result.pages.get(number, ZEROS)])
                    known.append(with_piece(known[-1], item, number))
            elif id(item) in kept:
                size = item.of(result.size)
                if size < result.size:
                    versions = {n: [clip(v, n, size) for v in vs] for n, vs in versions.items() if n * PAGE < size}
                result._set_size(size)
        for number, known in versions.items():
            if number * PAGE < result.size:
                result.pages[number] = clip(chance.version(known), number, result.size)
        return result.pages, result.size


def clip(page, number, size):
    """A page of a file of `size` bytes, with zeros beyond."""
    inside = size - number * PAGE
    return page if inside >= PAGE else page[: max(inside, 0)] + bytes(PAGE - max(inside, 0))


class Folder:
    def __init__(self):
        self.durable = {}
        self.pending = []  # (kind, name, node or new name)
        self.names = {}  # As the running process sees them.

    def change(self, kind, name, other=None):
        apply(self.names, kind, name, other)
        self.pending.append((kind, name, other))

    def ended(self):
        return list(self.pending)

    def flush(self, changes):
        """Makes `changes` durable, as far as no other flush has done it: they are the oldest ones."""
        while self.pending and any(change is self.pending[0] for change in changes):
            apply(self.durable, *self.pending.pop(0))

    def remains(self, chance):
        names = dict(self.durable)
        for change in self.pending[: chance.prefix(len(self.pending))]:
            apply(names, *change)
        return names


def apply(names, kind, name, other):
    if kind == "make":
        names[name] = other
    elif kind == "remove":
        del names[name]
    else:
        names[other] = names.pop(name)


class Chance:
    """What a crash decides. Some crashes lose all they may, some nothing, most a part."""

    def __init__(self, random):
        self.random = random
        mood = random.random()
        self.keep = 0.0 if mood < 0.12 else 1.0 if mood < 0.2 else random.choice([0.1, 0.5, 0.5, 0.9, random.random()])
        self.tear = 0.0 if mood < 0.2 else random.choice([0.0, 0.1, 0.4])

    def prefix(self, count):
        if self.keep in (0.0, 1.0) or self.random.random() < 0.3:
            return count if self.random.random() < self.keep else 0
        return self.random.randint(0, count)

    def version(self, versions):
        """One of a page's versions, the first of which is on disk already."""
        if self.tear and len(versions) > 1 and self.random.random() < self.tear:
            new, old = self.random.choice(versions[1:]), self.random.choice(versions[:-1])
            boundary = self.random.randrange(1, PAGE // SECTOR) * SECTOR
            if self.random.random() < 0.5:
                new, old = old, new
            return new[:boundary] + old[boundary:]
        if self.random.random() < self.keep:
            return versions[-1]
        return self.random.choice(versions[:-1]) if len(versions) > 1 else versions[0]


class Unexplained(Exception):
    """The trace holds something the model has no answer for: the recorder must learn it first."""


class Disk:
    """The whole folder. Feed it events in order with `take`; ask for images with `build` in between."""

    def __init__(self):
        self.root = Folder()
        self.open = {}  # Descriptor → File or Folder.
        self.operations = {}
        self.mapped = set()

    @staticmethod
    def holding(directory):
        """A disk that holds a folder durably, as after it was built as an image."""
        disk = Disk()
        disk._load(disk.root, os.fspath(directory))
        return disk

    def _load(self, folder, path):
        for entry in os.scandir(path):
            if entry.is_dir():
                node = Folder()
                self._load(node, entry.path)
            else:
                node = File()
                with open(entry.path, "rb") as file:
                    data = file.read()
                node.size = len(data)
                for number in range((len(data) + PAGE - 1) // PAGE):
                    page = data[number * PAGE : (number + 1) * PAGE]
                    if page.strip(b"\0"):
                        node.pages[number] = page if len(page) == PAGE else page + bytes(PAGE - len(page))
            folder.durable[entry.name] = folder.names[entry.name] = node

    # Names

    def _find(self, path):
        """(folder, name) of a path; the root has the name ''."""
        folder = self.root
        *parents, name = path.split("/")
        for parent in parents:
            folder = folder.names.get(parent)
            if not isinstance(folder, Folder):
                raise Unexplained(f"{path}: its folder was never made")
        return folder, name

    def _node(self, path):
        if path == "":
            return self.root
        folder, name = self._find(path)
        if name not in folder.names:
            raise Unexplained(f"{path} was opened but never made")
        return folder.names[name]

    # Events

    def take(self, event):
        kind = event.kind
        if kind == trace.WRITE_BEGIN:
            write = self._file(event).begin_write(event.first, event.payload, bool(event.flags & trace.DURABLE))
            self.operations[event.operation] = write
        elif kind == trace.WRITE_END:
            write = self.operations.pop(event.operation)
            write.file.end_write(write, event.first)
        elif kind == trace.SYNC_BEGIN:
            node = self._file(event)
            self.operations[event.operation] = (node, node.ended())
        elif kind == trace.SYNC_END:
            node, what = self.operations.pop(event.operation)
            if event.first == 0:
                node.flush(what)
        elif kind == trace.OPEN:
            self._open(event)
        elif kind == trace.CLOSE:
            self.open.pop(event.file, None)
        elif kind == trace.TRUNCATE:
            self._file(event).resize(event.second)
        elif kind == trace.ALLOCATE and event.flags & trace.PUNCHED:
            self._file(event).punch(event.first, event.second)
        elif kind == trace.ALLOCATE:
            self._file(event).resize(event.first + event.second, at_least=True)
        elif kind == trace.MAPPED:
            self.mapped.add(self._path_of(self._file(event)))
        elif kind in (trace.MKDIR, trace.RMDIR, trace.UNLINK, trace.RENAME):
            self._change_names(event)
        else:
            raise Unexplained(f"{trace.NAMES[kind]} {event.first} of descriptor {event.file}")

    def _file(self, event):
        node = self.open.get(event.file)
        if node is None:
            raise Unexplained(f"{trace.NAMES[event.kind]} of descriptor {event.file}, which was never opened")
        return node

    def _open(self, event):
        path = event.text
        if event.flags & trace.CREATED:
            folder, name = self._find(path)
            folder.change("make", name, File())
        node = self._node(path)
        if event.flags & trace.TRUNCATED:
            node.resize(0)
        self.open[event.file] = node

    def _change_names(self, event):
        path, _, new_path = event.text.partition("\0")
        if path == "":
            return  # The root, which is taken for durable from the start.
        folder, name = self._find(path)
        if event.kind == trace.MKDIR:
            folder.change("make", name, Folder())
        elif event.kind == trace.RENAME:
            other, new_name = self._find(new_path)
            if other is not folder:
                raise Unexplained(f"{path} is renamed into another folder, {new_path}")
            folder.change("rename", name, new_name)
        else:
            folder.change("remove", name)

    def _path_of(self, wanted, folder=None, path=""):
        for name, node in (folder or self.root).names.items():
            if node is wanted:
                return path + name
            if isinstance(node, Folder) and (found := self._path_of(wanted, node, path + name + "/")):
                return found
        return None

    # Images

    def build(self, directory, chance, scratch=()):
        """Writes what a crash now may leave into `directory`. The files of `scratch` hold anything at all."""
        self._build(self.root, os.fspath(directory), "", chance, scratch)

    def _build(self, folder, directory, path, chance, scratch):
        os.mkdir(directory, 0o700)
        for name, node in folder.remains(chance).items():
            target = f"{directory}/{name}"
            if isinstance(node, Folder):
                self._build(node, target, f"{path}{name}/", chance, scratch)
            elif path + name in scratch:
                write_garbage(target, node.volatile_size(), chance.random)
            else:
                write_file(target, *node.remains(chance))

    def differences(self, directory, scratch):
        """Where the real folder is not what all events together make of it."""
        return list(self._differences(self.root, os.fspath(directory), "", scratch))

    def _differences(self, folder, directory, path, scratch):
        real = set(os.listdir(directory))
        for name in sorted(real ^ set(folder.names)):
            yield f"{path}{name} is {'there but was never made' if name in real else 'missing'}"
        for name in sorted(real & set(folder.names)):
            node, target = folder.names[name], f"{directory}/{name}"
            if isinstance(node, Folder):
                yield from self._differences(node, target, f"{path}{name}/", scratch)
            elif path + name not in scratch:
                pages, size = node.remains(EVERYTHING)
                with open(target, "rb") as file:
                    data = file.read()
                if len(data) != size:
                    yield f"{path}{name} has {len(data)} bytes, recorded {size}"
                for number in range(max(len(data), size) // PAGE + 1):
                    page = data[number * PAGE : (number + 1) * PAGE]
                    if page != clip(pages.get(number, ZEROS), number, size)[: len(page)]:
                        yield f"{path}{name} differs in page {number}"
                        break


class Everything:
    """No crash at all."""

    def prefix(self, count):
        return count

    def version(self, versions):
        return versions[-1]


EVERYTHING = Everything()


def write_file(path, pages, size):
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.ftruncate(file, size)
        run, start = [], None
        for number in sorted(pages):
            if start is None or number != start + len(run) or len(run) == 256:
                if run:
                    os.pwritev(file, run, start * PAGE)
                run, start = [], number
            run.append(pages[number])
        if run:
            os.pwritev(file, run, start * PAGE)
        os.ftruncate(file, size)
    finally:
        os.close(file)


def write_garbage(path, size, random):
    """What was never flushed: holes and noise, and any size up to the one it had."""
    with open(path, "wb") as file:
        size = random.choice([0, size, random.randint(0, size)])
        for _ in range(random.randrange(4) if size else 0):
            file.seek(random.randrange(size))
            file.write(random.randbytes(random.choice([100, 5000])))
        file.truncate(size)
