"""Writes the document of a record: conditions, targets, a table for each group of works, rivals, plots."""
import catalog
import conditions
import targets
from figures import Figures, ratio_text, spread_text, table, text

HEAD = """# Benchmarks

How Berth compares with etcd and other coordination stores on one machine, measured by [`tools/bench`](../tools/bench).
[performance.md](performance.md) says what the figures mean and what limits them.
"""
USUAL = [("client", "client CPU µs"), ("p50", "p50 ms"), ("p99", "p99 ms"), ("p99.9", "p99.9 ms"), ("rss", "RSS MiB"),
         ("written", "bytes written")]
NOTES = {
    "get": "A range is one request, whatever it holds.",
    "watch": "A watch's operation is one event at one watcher, its time that from the call of the put to the watcher. Ten "
             "thousand watchers have one writer that waits while 20 puts are undelivered.",
    "lease": "Keep-alives go over one stream for each loop.",
    "lines": "Times: of lock and unlock together; of a hand-off from the call that releases to the answer that grants. "
             "etcd's client keeps one session for each loop; `berth.v1` grants and revokes "
             "a lease with every lock, or (lease kept) is brought one.",
    "scaling": "The server is confined to so many cores; the client may use all.",
}


def document(record, plots_folder):
    """The document's text; with a folder, also draws the plots into it."""
    figures = Figures(record)
    lines = [HEAD, *conditions.sentences(record), *targets.lines(figures)]
    for group, title in catalog.GROUPS.items():
        body = {"memory": memory, "large": large, "waiters": waiters}.get(group, usual)(figures, group)
        if body:
            note = [NOTES[group], ""] if group in NOTES else []
            lines += [f"## {title}", "", *body, *note]
    lines += rival_tables(figures, record)
    if plots_folder:
        import plots

        plots_folder.mkdir(parents=True, exist_ok=True)
        drawn = plots.draw(figures, plots_folder)
        lines += ["## Plots", ""] * bool(drawn)
        for name, caption in drawn:
            lines += [f"![{caption}]({plots_folder.name}/{name})", ""]
    if record["failures"]:
        lines += ["## Failed", "", *(f"- {failure}" for failure in record["failures"]), ""]
    return "\n".join(lines).rstrip() + "\n"


def side_title(side, work=None):
    """What tables call a side; of a work that Berth can be asked for in two ways, with the way."""
    title = catalog.SIDES[side][1]
    return f"{title}, etcd's client" if side == "berth" and work and len(work.ways) > 1 else title


def usual(figures, group):
    """One row for each work and side. Columns that stay empty are left out."""
    works = [work for work in catalog.WORKS.values() if work.group == group and figures.sides(work.name)]
    if not works:
        return []
    columns = [(f, t) for f, t in [*USUAL, ("cpu per put", "server CPU µs per put")]
               if any(figures.values(w.name, s, f) for w in works for s in catalog.SIDES)]
    head = ["work", "server", "per second", "lowest-highest", "of etcd 3.5's", "server CPU µs", "of etcd 3.5's",
            *(title for _, title in columns)]
    rows = []
    for work in works:
        for side in (s for s in catalog.SIDES if s in figures.sides(work.name)):
            ratios = ["" if side == catalog.PEER else ratio_text(figures.ratio(work.name, side, catalog.PEER, f))
                      for f in ("rate", "cpu")]
            rows.append([
                catalog.title_of(work, figures.settings), side_title(side, work),
                text(figures.median(work.name, side, "rate")), spread_text(figures.spread(work.name, side, "rate")), ratios[0],
                text(figures.median(work.name, side, "cpu")), ratios[1],
                *(text(figures.median(work.name, side, f)) for f, _ in columns),
            ])
    return table(head, rows)


def memory(figures, group):
    rows = [
        [side_title(side), *(text(figures.median("memory", side, f))
                             for f in ("idle", "idle anonymous", "after", "after anonymous", "rss"))]
        for side in catalog.SIDES if side in figures.sides("memory")
    ]
    if not rows:
        return []
    head = ["server, MiB", "resident when idle", "of it anonymous", "after a mix of works", "of it anonymous", "highest"]
    about = ("One server lives through 300,000 operations, some of every kind, the same for each server; eight "
             "seconds later its memory is read. What is not anonymous is mapped files, which the kernel can take back.")
    return [*table(head, rows), about, ""]


def large(figures, group):
    columns = [("fill", "keys filled per s"), ("put", "puts per s"), ("put cpu", "CPU µs"), ("put p99", "p99 ms"),
               ("get", "gets per s"), ("get cpu", "CPU µs"), ("get p99", "p99 ms"), ("rss", "RSS MiB"),
               ("anonymous", "of it anonymous"), ("disk", "disk MiB")]
    rows = [
        [f"{int(work.removeprefix('growth-')):,}", side_title(side),
         *(text(figures.median(work, side, f)) for f, _ in columns)]
        for work in figures.works("growth-") for side in catalog.SIDES if side in figures.sides(work)
    ]
    lines = [] if not rows else [
        "Growth: values of the usual size are filled in by transactions of 100 puts, 16 at a time; then 64 loops put over "
        "keys that exist, and 64 loops get.", "", *table(["keys", "server", *(t for _, t in columns)], rows)]
    rows = [
        [f"{int(work.removeprefix('replay-')):,}", side_title(side),
         *(text(figures.median(work, side, f)) for f in ("events", "rate", "seconds", "cpu", "client", "rss"))]
        for work in figures.works("replay-") for side in catalog.SIDES if side in figures.sides(work)
    ]
    if rows:
        head = ["keys", "server", "events", "events per s", "s", "server CPU µs", "client CPU µs", "RSS MiB"]
        lines += ["Replay: one watch from revision 1 on, over the keys filled in and the puts that came after.", "",
                  *table(head, rows)]
    rows = [
        [f"{int(work.removeprefix('start-')):,}", side_title(side), text(figures.median(work, side, "seconds")),
         spread_text(figures.spread(work, side, "seconds")),
         "" if side == catalog.PEER else ratio_text(figures.ratio(work, side, catalog.PEER, "seconds")),
         text(figures.median(work, side, "rss"))]
        for work in figures.works("start-") for side in catalog.SIDES if side in figures.sides(work)
    ]
    if rows:
        lines += ["Start-up: from the start of the process to the first answer to a linearizable get, after an ordinary "
                  "stop, files in the page cache.", "",
                  *table(["keys", "server", "s", "lowest-highest", "of etcd 3.5's", "RSS MiB"], rows)]
    return lines


def waiters(figures, group):
    columns = [("waiter KiB", "KiB a waiter"), ("anonymous KiB", "of it anonymous"), ("seconds", "s until all wait"),
               ("cpu", "server CPU µs a waiter"), ("woken", "woken by a release"), ("p50", "release to grant, p50 ms")]
    rows = [
        [catalog.title_of(work, figures.settings), side_title(side, work),
         *(text(figures.median(work.name, side, f)) for f, _ in columns)]
        for work in catalog.WORKS.values() if work.group == group
        for side in catalog.SIDES if side in figures.sides(work.name)
    ]
    return table(["work", "server", *(t for _, t in columns)], rows) if rows else []


def rival_tables(figures, record):
    """The works that others do too, with all who do them."""
    works = [w for w in catalog.WORKS.values() if any(s not in catalog.SIDES for s in figures.sides(w.name))]
    if not works:
        return []
    columns = [("cpu", "server CPU µs"), *USUAL]
    rows = []
    for work in works:
        known = [side for side in catalog.SIDES if side in figures.sides(work.name)]
        for side in [*known, *(s for s in figures.sides(work.name) if s not in catalog.SIDES)]:
            rows.append([
                catalog.title_of(work, figures.settings), rival_title(side, work),
                text(figures.median(work.name, side, "rate")), spread_text(figures.spread(work.name, side, "rate")),
                *(text(figures.median(work.name, side, f)) for f, _ in columns),
            ])
    about = ("The same work done by other stores, each by the client that the table of servers names. Clients differ, and "
             "share the machine with the servers: the rates compare a store and its client with another, server CPU "
             "compares the servers. A Python client is slower than most servers.")
    return ["## Other stores", "", about, "",
            *table(["work", "server", "per second", "lowest-highest", *(t for _, t in columns)], rows)]


def rival_title(side, work):
    names = {"zookeeper": "ZooKeeper", "redis": "Redis", "postgresql": "PostgreSQL"}
    return side_title(side, work) if side in catalog.SIDES else names.get(side, side)
