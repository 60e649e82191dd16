"""Scores of other engines on the tasks of `embed eval`: same texts, measures and resamples.

    python benchmarks/dense_quality.py TASK_DIR... --tasks 'stsb/en.test' \
        --engine ort-dynamic:FP32_BUNDLE --engine transformers:HF_FOLDER --out rivals.json

Engines are those of `dense_engines.py`. Results are written after every task, and a run goes on
where it stopped.
"""

import argparse
import json
from pathlib import Path

from dense_engines import Engine, Kept, open_engine
from machine import describe

from embedge.models.bundle import write_atomically
from embedge.runtime.quality.discover import find_tasks
from embedge.runtime.quality.task import MAIN_MEASURE, Task


def scored(task: Task, engine: Engine) -> float:
    """Return the task's main measure in points; a text that occurs twice is embedded once."""
    return 100 * task.evaluate(Kept(engine.embed).full).measures[MAIN_MEASURE[task.kind]]


def main() -> None:
    """Read the command line and score every engine on every task."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("places", nargs="+", type=Path)
    parser.add_argument("--tasks", action="append", default=[], help="only names that match")
    parser.add_argument("--engine", action="append", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    report = {"machine": describe(), "points": {}}
    if arguments.out.exists():
        report = json.loads(arguments.out.read_text())
    tasks = find_tasks(arguments.places, only=arguments.tasks, cross_lingual=None).tasks
    for spec in arguments.engine:
        points = report["points"].setdefault(spec.partition(":")[0], {})
        left = [task for task in tasks if task.name not in points]
        engine = open_engine(spec, arguments.threads) if left else None
        for task in left:
            assert engine is not None
            points[task.name] = scored(task, engine)
            print(f"{engine.name:28} {task.name:20} {points[task.name]:.2f}", flush=True)
            write_atomically(arguments.out, json.dumps(report, indent=1).encode())


if __name__ == "__main__":
    main()
