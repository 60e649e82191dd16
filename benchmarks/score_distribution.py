"""What a cosine means: scores of related and of unrelated pairs, for the model's card.

    python benchmarks/score_distribution.py TASK_DIR... [-m MODEL] [--dim 384]

Each TASK_DIR is one retrieval task in BEIR layout. Related: a query and a passage that the judges
gave it. Unrelated: the same query and passages of the same corpus drawn at random, judged ones
left out. Prints mean and quantiles of both, over all tasks.
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
from machine import describe

from embedge import Embedder
from embedge.runtime.quality.beir import beir_task

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
UNRELATED_PER_QUERY = 20


def scores(folder: Path, embedder: Embedder) -> tuple[list[float], list[float]]:
    """Cosines of related and of unrelated pairs of one task."""
    task = beir_task(folder, folder.name, folder.name, ())
    documents, queries = dict(task.corpus()), task.queries()
    relevant = {
        query: {document for document, grade in judged.items() if grade > 0}
        for query, judged in task.qrels().items()
    }
    names = sorted(documents)
    passages = embedder.encode_document([documents[name] for name in names])
    asked = sorted(query for query in queries if relevant.get(query))
    questions = embedder.encode_query([queries[name] for name in asked])
    cosines = questions @ passages.T
    draw = random.Random(1)
    related, unrelated = [], []
    for row, query in zip(cosines, asked, strict=True):
        judged = relevant[query]
        related += [float(row[i]) for i, name in enumerate(names) if name in judged]
        others = [i for i, name in enumerate(names) if name not in judged]
        chosen = draw.sample(others, min(UNRELATED_PER_QUERY, len(others)))
        unrelated += [float(row[i]) for i in chosen]
    return related, unrelated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("places", nargs="+", type=Path)
    parser.add_argument("-m", "--model", default="bundled")
    parser.add_argument("--dim", type=int, default=None)
    options = parser.parse_args()
    print(json.dumps(describe()))
    related: list[float] = []
    unrelated: list[float] = []
    with Embedder(options.model, dim=options.dim) as embedder:
        for place in options.places:
            found = scores(place, embedder)
            related += found[0]
            unrelated += found[1]
            means = [f"{np.mean(values):.3f}" for values in found]
            print(f"{place.name}: {means[0]} against {means[1]}", flush=True)
    print("| pairs | number | mean | " + " | ".join(f"{q:.0%}" for q in QUANTILES) + " |")
    print("|---" * (3 + len(QUANTILES)) + "|")
    for name, values in (("related", related), ("unrelated", unrelated)):
        cells = " | ".join(f"{np.quantile(values, q):.2f}" for q in QUANTILES)
        print(f"| {name} | {len(values)} | {np.mean(values):.3f} | {cells} |")


if __name__ == "__main__":
    main()
