"""The plots of a record, as SVG. Each is left out when its figures are missing."""
import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({
    "svg.hashsalt": "berth", "font.size": 9, "axes.grid": True, "axes.axisbelow": True, "grid.color": "#dddddd",
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "figure.constrained_layout.use": True,
})
from matplotlib import pyplot, ticker  # noqa: E402

LOOPS = (1, 16, 256, 1000)
TITLES = {"own": "Berth, berth.v1", "kept": "Berth, berth.v1, lease kept", "berth": "Berth", "etcd-3.5": "etcd 3.5",
          "etcd-3.4": "etcd 3.4", "zookeeper": "ZooKeeper", "redis": "Redis", "postgresql": "PostgreSQL"}
COLOURS = {"own": "#1b4f8f", "kept": "#6f9fd8", "berth": "#2f7fd0", "etcd-3.5": "#e08214", "etcd-3.4": "#f5c27a",
           "zookeeper": "#7b5ea7", "redis": "#c23b3b", "postgresql": "#3f8f5f"}
MAIN_WORKS = {"put-1": "put\n1 loop", "put-16": "put\n16 loops", "put-256": "put\n256 loops", "get-16": "get\n16 loops",
              "get-256": "get\n256 loops", "txn-64": "txn\n64 loops", "mix-64": "70/30 mix\n64 loops",
              "lease-64": "lease\n64 loops", "lock-64": "lock\n64 loops"}
TURNS = {"lock-1": "lock + unlock, 1 loop", "lock-16": "lock + unlock, 16 loops", "lock-64": "lock + unlock, 64 loops",
         "handoff-16": "hand-offs of one lock, 16 in line", "election-16": "hand-overs of one election, 16 candidates"}


def draw(figures, folder):
    """Draws what there is into the folder and returns (file name, caption) of each plot."""
    drawn = []
    for name, caption, make in (
        ("put-rate", "Puts per second by the number of closed loops; bars show the lowest and highest round", rate_by_loops),
        ("latency", "Latency of puts and gets by the number of closed loops", latency_by_loops),
        ("cpu", "Server CPU time for each operation", cpu_by_work),
        ("turns", "Locks and elections, by each store's usual client", turns),
        ("scaling", "Rate and server CPU time by the number of cores the server may use", by_cores),
        ("growth", "Rates, memory and disk by the number of keys", growth),
    ):
        if figure := make(figures):
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            pyplot.close(figure)
            drawn.append((f"{name}.svg", caption))
    return drawn


def points(figures, works, side, figure):
    """(x, median) for those of {x: work} that have the figure."""
    return [(x, value) for x, work in works.items() if (value := figures.median(work, side, figure)) is not None]


def line(axes, found, side, style="-", label=None):
    axes.plot(*zip(*found), style, marker="o", markersize=4, color=COLOURS[side], label=label or TITLES[side])


def numbers(axis, values=None):
    """Plain numbers at an axis; ticks at the values alone where they are given."""
    if values:
        axis.set_major_locator(ticker.FixedLocator(values))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(ticker.NullFormatter())
    if axis.get_scale() == "log" and not values:
        axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    if values:
        axis.set_minor_locator(ticker.NullLocator())


def rate_by_loops(figures):
    works = {n: f"put-{n}" for n in LOOPS}
    sides = [side for side in ("berth", "etcd-3.5", "etcd-3.4", "zookeeper", "redis", "postgresql")
             if len(points(figures, works, side, "rate")) > 1]
    if not sides:
        return None
    figure, axes = pyplot.subplots(figsize=(7, 4))
    for side in sides:
        found = points(figures, works, side, "rate")
        spreads = [figures.spread(works[x], side, "rate") for x, _ in found]
        below = [y - low for (_, y), (low, _) in zip(found, spreads)]
        above = [high - y for (_, y), (_, high) in zip(found, spreads)]
        axes.errorbar(*zip(*found), yerr=[below, above], marker="o", markersize=4, capsize=3, color=COLOURS[side],
                      label=TITLES[side])
    axes.set(xscale="log", xlabel="closed loops", ylabel="puts per second", ylim=(0, None), title="Puts of small values")
    numbers(axes.xaxis, LOOPS)
    numbers(axes.yaxis)
    axes.legend()
    return figure


def latency_by_loops(figures):
    kinds = {"put": "Puts", "get": "Linearizable gets"}
    if not any(len(points(figures, {n: f"{k}-{n}" for n in LOOPS}, "berth", "p50")) > 1 for k in kinds):
        return None
    figure, all_axes = pyplot.subplots(1, 2, figsize=(9, 4), sharey=True)
    for axes, (kind, title) in zip(all_axes, kinds.items()):
        works = {n: f"{kind}-{n}" for n in LOOPS}
        for side in ("berth", "etcd-3.5"):
            for quantile, style in (("p50", "-"), ("p99", "--")):
                if found := points(figures, works, side, quantile):
                    line(axes, found, side, style, f"{TITLES[side]}, {quantile}")
        axes.set(xscale="log", yscale="log", xlabel="closed loops", title=title)
        numbers(axes.xaxis, [n for n in LOOPS if kind == "put" or n < 1000])
        numbers(axes.yaxis)
    all_axes[0].set_ylabel("milliseconds")
    all_axes[0].legend()
    return figure


def cpu_by_work(figures):
    works = [work for work in MAIN_WORKS if figures.median(work, "berth", "cpu")]
    sides = [side for side in ("berth", "etcd-3.5") if any(figures.median(work, side, "cpu") for work in works)]
    if not sides:
        return None
    figure, axes = pyplot.subplots(figsize=(9, 4))
    width = 0.8 / len(sides)
    for number, side in enumerate(sides):
        heights = [figures.median(work, side, "cpu") or 0 for work in works]
        places = [x + number * width for x in range(len(works))]
        bars = axes.bar(places, heights, width, color=COLOURS[side], label=TITLES[side])
        axes.bar_label(bars, [f"{height:,.0f}" for height in heights], fontsize=8, padding=1)
    axes.set(ylabel="server CPU µs for each operation", title="Server CPU time, etcd's Go client")
    axes.set_xticks([x + width * (len(sides) - 1) / 2 for x in range(len(works))], [MAIN_WORKS[work] for work in works])
    axes.grid(axis="x", visible=False)
    numbers(axes.yaxis)
    axes.margins(y=0.12)
    axes.legend(loc="upper center")
    return figure


def turns(figures):
    works = [work for work in TURNS if figures.sides(work)]
    if not works:
        return None
    sides = {work: [s for s in TITLES if figures.median(work, s, "rate")][::-1] for work in works}
    figure, all_axes = pyplot.subplots(
        len(works), 1, figsize=(7, sum(0.28 * len(sides[w]) + 0.75 for w in works)), squeeze=False,
        gridspec_kw={"height_ratios": [len(sides[w]) + 1.2 for w in works]})
    for axes, work in zip(all_axes[:, 0], works):
        values = [figures.median(work, side, "rate") for side in sides[work]]
        names = ["Berth, etcd's client" if side == "berth" else TITLES[side] for side in sides[work]]
        bars = axes.barh(names, values, color=[COLOURS[side] for side in sides[work]])
        axes.bar_label(bars, [f"{value:,.0f}" for value in values], padding=3, fontsize=8)
        axes.set_title(TURNS[work], loc="left", fontsize=9)
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.12)
        numbers(axes.xaxis)
    all_axes[-1, 0].set_xlabel("per second")
    return figure


def by_cores(figures):
    cores = sorted({int(work.rpartition("-")[2]) for work in figures.works("scaling-")})
    if len(cores) < 2:
        return None
    figure, all_axes = pyplot.subplots(2, 2, figsize=(8, 5.5), sharex=True)
    for column, kind in enumerate(("put", "get")):
        works = {n: f"scaling-{kind}-{n}" for n in cores}
        for axes, name, title in ((all_axes[0, column], "rate", f"{kind}s per second"),
                                  (all_axes[1, column], "cpu", "server CPU µs each")):
            for side in ("berth", "etcd-3.5"):
                if found := points(figures, works, side, name):
                    line(axes, found, side)
            axes.set(ylabel=title, ylim=(0, None))
            numbers(axes.xaxis, cores)
            numbers(axes.yaxis)
        all_axes[1, column].set_xlabel("cores of the server")
    all_axes[0, 0].legend()
    return figure


def growth(figures):
    works = {int(work.removeprefix("growth-")): work for work in figures.works("growth-")}
    if len(works) < 2:
        return None
    figure, all_axes = pyplot.subplots(2, 2, figsize=(9, 6), sharex=True)
    panels = (("put", "puts per second, 64 loops", False), ("get", "gets per second, 64 loops", False),
              ("rss", "resident memory, MiB", True), ("disk", "data folder on disk, MiB", True))
    for axes, (name, title, is_logarithmic) in zip(all_axes.flat, panels):
        for side in ("berth", "etcd-3.5"):
            if found := points(figures, works, side, name):
                line(axes, found, side)
        axes.set(xscale="log", ylabel=title, **({"yscale": "log"} if is_logarithmic else {"ylim": (0, None)}))
        numbers(axes.xaxis, sorted(works))
        numbers(axes.yaxis)
    for axes in all_axes[1]:
        axes.set_xlabel("keys")
    all_axes[0, 0].legend()
    return figure
