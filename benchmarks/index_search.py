r"""Time of a search over 100,000 and 1,000,000 passages.

    python benchmarks/index_search.py --rows 100000 1000000 --work /tmp/search

Makes an index whose vectors lie around 2,000 centres, as those of texts do, and whose passages are
twelve words of a Zipf distribution; the model is only asked for its space. Then it times

* the scan of all vectors from the mapped cache,
* the vector part: scan, the 200 best, exact cosines from SQLite, back to living passages,
* a whole search in each mode, the embedding of the query included,

and, with `--recall`, compares the ten best of the vector part with brute force in float32.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import describe

from embedge import Embedder, Index, open_index
from embedge.runtime.index.coarse_cache import CoarseVectors, join_parts
from embedge.runtime.index.coarse_scan import CoarseScan
from embedge.runtime.index.connection import connect_writer, transaction
from embedge.runtime.index.reading import text_sha256
from embedge.runtime.index.rows import (
    Selection,
    ensure_chunker_json,
    ensure_root,
    ensure_space,
    find_collections,
    link_root,
    make_collection,
)
from embedge.runtime.index.vector_search import CANDIDATES, VectorSearch
from embedge.runtime.index.vectors import store_vectors

_CENTRES = 2_000
_BATCH = 20_000
_PER_FILE = 100
_QUERIES = 50
Vectors = np.ndarray


class Corpus:
    """Vectors and passages, the same for every run."""

    def __init__(self, dim: int) -> None:
        self._rng = np.random.default_rng(7)
        self._centres = _unit(self._rng.standard_normal((_CENTRES, dim)))

    def vectors(self, count: int) -> Vectors:
        """Return unit vectors around random centres, (count, dim)."""
        place = self._rng.integers(0, _CENTRES, count)
        noise = self._rng.standard_normal((count, self._centres.shape[1])) / 20
        return _unit(self._centres[place] + noise)

    def text(self, number: int) -> str:
        """Return twelve words, frequent ones often."""
        words = np.minimum(self._rng.zipf(1.3, 12), 50_000)
        return f"passage {number} " + " ".join(f"w{word}" for word in words)


def _unit(vectors: Vectors) -> Vectors:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / norms).astype(np.float32)


def fill(database: Path, embedder: Embedder, count: int) -> None:
    """Write an index of `count` passages."""
    corpus = Corpus(embedder.dim)
    connection = connect_writer(database)
    with transaction(connection):
        space = ensure_space(connection, embedder.space, embedder.loaded.bundle.manifest)
        chunker = ensure_chunker_json(connection, "ck-00000000", "{}")
        collection = make_collection(connection, "all", space, chunker)
        root = ensure_root(connection, str(database.parent))
        link_root(connection, collection.id, root.id, Selection())
    widths = (space.dim, space.coarse_dim)
    for start in range(0, count, _BATCH):
        size = min(_BATCH, count - start)
        texts = [corpus.text(start + number) for number in range(size)]
        keys = [text_sha256(text) for text in texts]
        with transaction(connection):
            for first in range(0, size, _PER_FILE):
                _write_file(
                    connection, start + first, texts[first : first + _PER_FILE], keys[first:]
                )
            store_vectors(connection, space.id, widths, keys, corpus.vectors(size), [20] * size)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _write_file(connection, number: int, texts: list[str], keys: list[bytes]) -> None:
    file_id = connection.execute(
        "INSERT INTO files(root_id, rel_path, state) VALUES(1, ?, 'read')", (f"{number}.txt",)
    ).lastrowid
    connection.execute("INSERT INTO collection_files VALUES(1, ?)", (file_id,))
    connection.execute(
        "INSERT INTO chunkings VALUES(?, 1, x'00', 'text/1', ?)", (file_id, len(texts))
    )
    connection.executemany(
        "INSERT INTO chunks(file_id, chunker_id, seq, text, text_sha256, char_start, char_end,"
        " n_words, n_tokens) VALUES(?, 1, ?, ?, ?, 0, 0, 14, 20)",
        [
            (file_id, seq, text, key)
            for seq, (text, key) in enumerate(zip(texts, keys, strict=False))
        ],
    )


def timed(work: Callable[[int], object], rounds: int = _QUERIES) -> dict[str, float]:
    """Return median, 90th percentile and minimum in milliseconds, after two rounds unmeasured."""
    work(0)
    work(1)
    times = []
    for number in range(rounds):
        begun = time.perf_counter()
        work(number)
        times.append(1000 * (time.perf_counter() - begun))
    times.sort()
    return {
        "median_ms": round(statistics.median(times), 2),
        "p90_ms": round(times[int(0.9 * len(times))], 2),
        "min_ms": round(times[0], 2),
    }


def brute_force(index: Index, queries: Vectors, space_id: int) -> list[list[int]]:
    """Return the ids of the ten best of each query, by float32 over the stored vectors."""
    best: list[list[tuple[float, int]]] = [[] for _ in queries]
    with index.reading() as connection:
        rows = connection.execute("SELECT id, fine FROM vectors WHERE space_id = ?", (space_id,))
        while batch := rows.fetchmany(50_000):
            ids = [row[0] for row in batch]
            fine = np.frombuffer(b"".join(row[1] for row in batch), dtype="<f2")
            matrix = fine.reshape(len(batch), -1).astype(np.float32)
            scores = (matrix @ queries.T) / np.linalg.norm(matrix, axis=1)[:, None]
            for number in range(len(queries)):
                rows_ = np.argpartition(-scores[:, number], 10)[:10]
                best[number] += [(float(scores[row, number]), ids[row]) for row in rows_]
                best[number] = sorted(best[number], reverse=True)[:10]
    return [[each for _, each in ten] for ten in best]


def measure(database: Path, embedder: Embedder, *, with_recall: bool) -> dict[str, object]:
    """Time the parts of a search of one index."""
    queries = Corpus(embedder.dim).vectors(_QUERIES)
    with open_index(database, embedder=embedder) as index, index.reading() as connection:
        begun = time.perf_counter()
        search = VectorSearch(database, writable=True)
        collection = find_collections(connection)[0]
        space = collection.space
        whole: CoarseVectors = join_parts(search.load(connection, space))
        opened = time.perf_counter() - begun
        scan = CoarseScan()
        found: dict[str, object] = {
            "rows": len(whole),
            "cache_made_or_mapped_s": round(opened, 2),
            "scan": timed(lambda n: scan.scores(whole.codes, whole.scales, queries[n])),
            "vector_part": timed(
                lambda n: search.search(connection, space, queries[n], [collection.id], CANDIDATES)
            ),
        }
        for mode in ("hybrid", "vector", "text"):
            found[mode] = timed(lambda n, m=mode: index.search(f"w{n + 40} w{n + 900}", mode=m), 20)
        if with_recall:
            found["recall_of_top_10"] = _recall(index, search, connection, collection, queries)
    return found


def _recall(index, search, connection, collection, queries) -> float:
    expected = brute_force(index, queries, collection.space.id)
    key_of = dict(connection.execute("SELECT id, text_sha256 FROM vectors").fetchall())
    hits = 0
    for query, ten in zip(queries, expected, strict=True):
        found = search.search(connection, collection.space, query, [collection.id], CANDIDATES)
        hits += len({match.key for match in found[:10]} & {key_of[each] for each in ten})
    return round(hits / (10 * len(queries)), 4)


def main() -> None:
    """Make or open the indexes and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--fill-only", action="store_true")
    parser.add_argument("--recall", action="store_true", help="compare with brute force; slow")
    arguments = parser.parse_args()
    report: dict[str, object] = {"machine": describe(), "results": []}
    results = []
    with Embedder() as embedder:
        for count in arguments.rows:
            database = arguments.work / f"{count}.db"
            if not database.exists():
                fill(database, embedder, count)
            if not arguments.fill_only:
                results.append(measure(database, embedder, with_recall=arguments.recall))
    report["results"] = results
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
