r"""nDCG@10 of `embed search` on folders of real texts: hybrid, by meaning, by words.

    python benchmarks/index_quality.py --data opensource-guide --work /tmp/quality

`--data` holds one folder per language in the BEIR layout (corpus.jsonl, queries.jsonl, qrels.tsv).
Every document becomes a Markdown file, every language a collection; queries of a language search
its collection. Several passages of one document count as the first. `--work` keeps files and index,
so that a second run only searches.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from embedge import Embedder, Index, open_index
from embedge.runtime.index.coarse_scan import CoarseScan, best_rows
from embedge.runtime.index.results import MODES
from embedge.runtime.index.rows import find_collections
from embedge.runtime.quality.beir import beir_task, json_rows
from embedge.runtime.quality.measures import retrieval_measures
from embedge.runtime.quality.retrieval import RetrievalTask

DEPTH = 10
_PASSAGES = 60
"""Enough that ten different documents are among them."""


def write_files(data: Path, folder: Path) -> dict[str, str]:
    """Write each document as Markdown; return its id by file name."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {}
    for number, (row, _) in enumerate(json_rows(data / "corpus.jsonl")):
        name = f"{number:06}.md"
        names[name] = str(row["_id"])
        title = row.get("title", "")
        text = f"# {title}\n\n{row['text']}\n" if title else f"{row['text']}\n"
        path = folder / name
        if not path.exists():
            path.write_text(text, encoding="utf-8")
    return names


def task_of(data: Path) -> RetrievalTask:
    """Return a language's folder as `embed eval` reads it."""
    return beir_task(data, data.name, data.name, (data.name,))


def measure(index: Index, data: Path, names: dict[str, str]) -> dict[str, tuple[float, float]]:
    """Return nDCG@10 (in points) and the median time of a search (ms) of each mode."""
    task = task_of(data)
    qrels = task.qrels()
    queries = {name: text for name, text in task.queries().items() if name in qrels}
    found = {}
    for mode in MODES:
        ranked: dict[str, dict[str, float]] = {}
        times = []
        for name, query in queries.items():
            begun = time.perf_counter()
            hits = index.search(query, limit=_PASSAGES, mode=mode, collections=[data.name])
            times.append(time.perf_counter() - begun)
            documents = dict.fromkeys(names[Path(hit.path).name] for hit in hits)
            ranked[name] = {document: -rank for rank, document in enumerate(documents)}
        scores = retrieval_measures(qrels, ranked, list(queries))["nDCG@10"]
        found[mode] = 100 * float(scores.mean()), 1000 * statistics.median(times)
    return found


def coarse_recall(index: Index, embedder: Embedder, queries: list[str]) -> dict[int, float]:
    """Return which share of the exact top 10 is among the best 20, 50, 100, 200 of the scan.

    Over all vectors of the index, whatever collection a query belongs to.
    """
    with index.reading() as connection:
        space = find_collections(connection)[0].space
        stored = connection.execute(
            "SELECT coarse, coarse_scale, fine FROM vectors WHERE space_id = ?", (space.id,)
        ).fetchall()
    codes = np.frombuffer(b"".join(row[0] for row in stored), dtype=np.uint8)
    codes = codes.reshape(len(stored), -1)
    scales = np.array([row[1] for row in stored], dtype=np.float32)
    fine = np.frombuffer(b"".join(row[2] for row in stored), dtype="<f2").astype(np.float32)
    fine = fine.reshape(len(stored), -1)
    vectors = embedder.encode(queries, task="query", own_prefix=False)
    scan, hits = CoarseScan(), {20: 0, 50: 0, 100: 0, 200: 0}
    for vector in vectors:
        exact = set(best_rows(fine @ vector, DEPTH).tolist())
        order = best_rows(scan.scores(codes, scales, vector), max(hits)).tolist()
        for count in hits:
            hits[count] += len(exact & set(order[:count]))
    print(f"{len(stored)} vectors of {fine.shape[1]} numbers, {codes.shape[1]} in the scan")
    return {count: round(found / (DEPTH * len(queries)), 5) for count, found in hits.items()}


def main() -> None:
    """Print a Markdown table and the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model")
    parser.add_argument("--overlap", type=int)
    parser.add_argument("--languages", nargs="*")
    parser.add_argument("--recall", action="store_true", help="also measure the scan's candidates")
    arguments = parser.parse_args()
    sets = sorted(path for path in arguments.data.iterdir() if (path / "corpus.jsonl").exists())
    if arguments.languages:
        sets = [data for data in sets if data.name in arguments.languages]
    means: dict[str, list[float]] = {mode: [] for mode in MODES}
    print(f"| language | {' | '.join(MODES)} |\n|---|{'---|' * len(MODES)}")
    with open_index(arguments.work / "index.db", model=arguments.model) as index:
        for data in sets:
            folder = arguments.work / "files" / data.name
            names = write_files(data, folder)
            known = (arguments.work / "index.db").exists() and data.name in index.collections()
            overlap = None if known else arguments.overlap
            index.add(folder, data.name, overlap=overlap, confirm=True)
            measured = measure(index, data, names)
            for mode, (score, _) in measured.items():
                means[mode].append(score)
            cells = " | ".join(f"{measured[mode][0]:.1f}" for mode in MODES)
            print(f"| {data.name} | {cells} |", flush=True)
    cells = " | ".join(f"{statistics.mean(scores):.1f}" for scores in means.values())
    print(f"| mean of {len(sets)} | {cells} |")
    if arguments.recall:
        queries = [text for data in sets for text in task_of(data).queries().values()]
        with Embedder(arguments.model or "bundled") as embedder:
            with open_index(arguments.work / "index.db", embedder=embedder) as index:
                print("share of the exact top 10 among the candidates of the scan:")
                print(coarse_recall(index, embedder, queries))


if __name__ == "__main__":
    main()
