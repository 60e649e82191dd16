"""Draw the pictures of docs/ from the files that the benchmarks wrote.

    pip install matplotlib
    python benchmarks/peers.py ... --json benchmarks/results/peers.json   # or peers-1.json, ...
    python benchmarks/bundled_peers.py ... --json benchmarks/results/bundled.json
    python benchmarks/plots.py                    # all of them, into docs/images/

* `peers.png`: full size, from `results/peers*.json`: times slower than our int8 in the same run,
  and memory; several files are several runs, each with our int8 among its peers
* `bundled.png`: speed, latency and memory beside the bundled model, from `results/bundled.json`
* `speed-quality.png`: the bundled model's speed (`results/bundled.json`) against quality
  (`results/quality.json`, copied by hand from docs/quality.md, embedge-mini.md and
  dense-models.md; each value names its source)

A picture whose file is missing is left out with a line.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

HERE = Path(__file__).parent
OURS, OURS_OTHER, THEIRS = "#0b6e4f", "#7fb8a4", "#b8bfc6"
# Ours, by name: the variant that ships, and others that this project can write.
_OUR_NAMES = {"int8": OURS, "embedge-mini": OURS, "fp32": OURS_OTHER}
TITLES = {
    "16x128": "16 texts of 128 tokens",
    "4x512": "4 texts of 512 tokens",
    "1x16": "one query of 16 tokens",
}
Record = Mapping[str, Any]


def bars(axes: Axes, values: Mapping[str, float], title: str, form: str, log: bool = False) -> None:
    """One horizontal bar per name in the given order, its value at its end; 0: not measured."""
    names = list(values)
    colours = [_OUR_NAMES.get(name, THEIRS) for name in names]
    drawn = axes.barh(range(len(names)), list(values.values()), color=colours, height=0.72)
    labels = [form.format(value) if value else "not measured" for value in values.values()]
    axes.bar_label(drawn, labels, padding=3, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.invert_yaxis()
    if log:
        lowest, highest = min(values.values()), max(values.values())
        axes.set_xscale("log")
        axes.set_xlim(lowest / 2, highest * (highest / lowest) ** 0.3)
    else:
        axes.set_xlim(0, max(values.values()) * 1.22)
    axes.set_title(title, fontsize=9)
    axes.xaxis.set_visible(False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def of_shape(record: Record, shape: str, key: str) -> dict[str, float]:
    """The values of one row of the table, by name."""
    values: dict[str, float] = {}
    for row in record["rows"]:
        if row["shape"].endswith(shape):
            values.setdefault(row["name"], row[key])
    return values


def draw_full_size(record: Record, out: Path) -> None:
    """A panel per shape that was measured, times slower than our int8, and one for memory."""
    panels = {shape: of_shape(record, shape, "times_slower") for shape in TITLES}
    panels = {shape: values for shape, values in panels.items() if values}
    first = next(iter(panels.values()))
    names = sorted(first, key=lambda name: first[name])
    figure = new_figure(2.8 * (len(panels) + 1), 0.25 * len(names) + 1.1)
    *shapes, last = figure.subplots(1, len(panels) + 1)
    for axes, (shape, values) in zip(shapes, panels.items(), strict=True):
        ordered = {name: values.get(name, 0.0) for name in names}
        bars(axes, ordered, f"{TITLES[shape]},\ntimes slower than int8", "{:.2f}")
        axes.axvline(1, color=OURS, linewidth=0.8, linestyle=":")
    memory = {name: record["peak_rss"].get(name, 0) / 1e6 for name in names}
    bars(last, memory, "peak memory, MB\n", "{:,.0f}")
    for axes in (*shapes[1:], last):
        axes.set_yticklabels([])
    save(figure, out)


def draw_bundled(record: Record, out: Path) -> None:
    """Three panels: tokens/s, milliseconds of one query, peak of resident memory."""
    speed, late = of_shape(record, "passages", "tokens_per_s"), of_shape(record, "query", "ms")
    names = sorted(speed, key=lambda name: late[name])
    figure = new_figure(9.5, 0.3 * len(names) + 1.0)
    left, middle, right = figure.subplots(1, 3)
    bars(
        left,
        {n: late[n] for n in names},
        "one query, ms, log scale\nless is better",
        "{:.3g}",
        log=True,
    )
    bars(
        middle,
        {n: speed[n] for n in names},
        "passages, tokens/s, log scale\nmore is better",
        "{:,.0f}",
        log=True,
    )
    bars(right, {n: record["peak_rss"][n] / 1e6 for n in names}, "peak memory, MB\n", "{:,.0f}")
    for axes in (middle, right):
        axes.set_yticklabels([])
    save(figure, out)


def draw_quality(speed: Record, quality: Record, out: Path) -> None:
    """Per measure a panel: queries per second to the right, points upwards; one dot per size."""
    per_second = {name: 1000 / ms for name, ms in of_shape(speed, "query", "ms").items()}
    measures: Sequence[str] = quality["measures"]
    figure = new_figure(4.6 * len(measures), 3.6)
    panels = figure.subplots(1, len(measures), squeeze=False)[0]
    for axes, measure in zip(panels, measures, strict=True):
        for row in quality["rows"]:
            if measure in row["points"] and row["engine"] in per_second:
                dot(axes, per_second[row["engine"]], row["points"][measure], row)
        axes.margins(x=0.25, y=0.18)
        axes.set_xlim(0, 1.5 * axes.dataLim.x1)
        axes.set_title(measure, fontsize=10)
        axes.set_xlabel("queries per second, one by one", fontsize=9)
        axes.tick_params(which="both", labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.axes[0].set_ylabel("points", fontsize=9)
    save(figure, out)


def dot(axes: Axes, x: float, y: float, row: Record) -> None:
    colour = _OUR_NAMES.get(row["engine"], "#6b747c")
    axes.scatter([x], [y], color=colour, s=34, zorder=3)
    axes.annotate(
        row["label"], (x, y), xytext=(5, 4), textcoords="offset points", fontsize=8, color=colour
    )


def new_figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, out: Path) -> None:
    """Few colours, so that the file stays small; no version or date inside."""
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=100, metadata={"Software": None})
    print(f"{out}: {out.stat().st_size / 1000:.0f} kB")


def read(folder: Path, pattern: str) -> Record | None:
    """Read the files of that name as one record; of a row that occurs twice, the first."""
    files = sorted(folder.glob(pattern))
    if not files:
        print(f"{folder / pattern} is missing; its benchmark writes it with --json")
        return None
    records = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    if len(records) == 1:
        return dict(records[0])
    memory: dict[str, float] = {}
    for record in records:
        memory = record["peak_rss"] | memory
    return {"rows": [row for record in records for row in record["rows"]], "peak_rss": memory}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "images")
    options = parser.parse_args()
    peers = read(options.results, "peers*.json")
    bundled = read(options.results, "bundled.json")
    quality = read(options.results, "quality.json")
    if peers is not None:
        draw_full_size(peers, options.out / "peers.png")
    if bundled is not None:
        draw_bundled(bundled, options.out / "bundled.png")
    if bundled is not None and quality is not None:
        draw_quality(bundled, quality, options.out / "speed-quality.png")


if __name__ == "__main__":
    main()
