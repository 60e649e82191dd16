"""Speed of several engines on the same texts, in turns, with the ratio to the first one.

    python benchmarks/dense_speed.py TASK_DIR --rounds 5 --engine embedge:FP32@fp32 \
        --engine embedge:INT8@int8 --engine ort-dynamic:FP32

Every round runs every engine once on the same documents and the same queries; the table gives the
median of texts per second and, from the pairs of a round, the median ratio with its range.
"""

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path

from dense_engines import Engine, open_engine
from machine import describe

from embedge.runtime.quality.discover import find_tasks
from embedge.runtime.quality.task import Role, Task


def sample(task: Task, role: Role, count: int) -> list[str]:
    """Return the first texts of that role."""
    found = (text for each, text in task.texts() if each == role)
    return list(itertools.islice(dict.fromkeys(found), count))


def seconds(engine: Engine, texts: list[str], role: Role) -> float:
    """Time one pass."""
    start = time.perf_counter()
    engine.embed(texts, role)
    return time.perf_counter() - start


def report(name: str, engines: list[Engine], texts: list[str], role: Role, rounds: int) -> None:
    """Print one table."""
    for engine in engines:
        engine.embed(texts[:8], role)  # pages and kernels are warm
    times = [[seconds(engine, texts, role) for engine in engines] for _ in range(rounds)]
    print(
        f"\n{name}: {len(texts)} texts, {sum(map(len, texts)) / len(texts):.0f} characters each\n"
    )
    print("| engine | texts/s | times the first | range |\n|---|---|---|---|")
    for column, engine in enumerate(engines):
        own = [row[column] for row in times]
        ratios = [row[0] / row[column] for row in times]
        print(
            f"| {engine.name} | {len(texts) / statistics.median(own):.1f} "
            f"| {statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} |",
            flush=True,
        )


def main() -> None:
    """Read the command line and print a table for documents and one for queries."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("place", type=Path, help="a retrieval task")
    parser.add_argument("--engine", action="append", required=True)
    parser.add_argument("--documents", type=int, default=48)
    parser.add_argument("--queries", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    (task,) = find_tasks([arguments.place], only=(), cross_lingual=None).tasks
    engines = [open_engine(spec, arguments.threads) for spec in arguments.engine]
    print(json.dumps(describe()))
    documents = sample(task, "document", arguments.documents)
    report("documents", engines, documents, "document", arguments.rounds)
    queries = sample(task, "query", arguments.queries)
    report("queries", engines, queries, "query", arguments.rounds)


if __name__ == "__main__":
    main()
