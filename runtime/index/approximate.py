"""Above a million vectors: a graph search with usearch (extra `ann`) instead of the full scan.

It finds most of the nearest vectors, not all; how many is measured when the graph is built, and
`status` says it. Vectors that came later are scanned exactly. Deletions make the graph invalid, and
it is built anew: nothing is ever removed in place.
"""

import json
import sqlite3
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedge.models.durable import PRIVATE, new_file
from embedge.runtime.cancel import CancelToken
from embedge.runtime.index.coarse_cache import CoarseVectors
from embedge.runtime.index.coarse_scan import CoarseScan, best_rows
from embedge.runtime.index.connection import transaction
from embedge.runtime.index.meta import read_meta, write_meta
from embedge.runtime.index.rows import SpaceRow
from embedge.runtime.index.vectors import ZERO_POINT, quantize_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

THRESHOLD = 1_000_000
"""Vectors up to which the exact scan is quick enough (docs/index.md)."""

_STALE_SHARE = 5
_BATCH = 20_000
_QUERIES = 100
_TOP = 10
_EXPANSION = 512
"""Nodes that a search looks at; more find more and take longer."""


@dataclass(frozen=True)
class Graph:
    """A built graph: holds the vectors with ids up to `last_id`, in one generation."""

    index: Any
    generation: int
    last_id: int
    recall: float

    def search(
        self, query: "NDArray[np.float32]", width: int, count: int
    ) -> list[tuple[int, float]]:
        """Return (id, approximate cosine) of near vectors, best first."""
        codes, _ = quantize_rows(query[None, :], width)
        found = self.index.search(_signed(codes)[0], count)
        return [
            (int(key), 1.0 - float(distance))
            for key, distance in zip(found.keys, found.distances, strict=True)
        ]


def is_possible() -> bool:
    """Tell whether usearch is installed."""
    return find_spec("usearch") is not None


def graph_path(database: Path, space: SpaceRow) -> Path:
    """Return the path of the graph of a space."""
    return database.with_name(f"{database.name}.usearch-{space.fingerprint}")


def load_graph(connection: sqlite3.Connection, database: Path, space: SpaceRow) -> Graph | None:
    """Return the graph of a space, mapped from its file; None if there is no valid one."""
    facts = _facts(connection, space)
    path = graph_path(database, space)
    if facts is None or facts["generation"] != space.generation or not is_possible():
        return None
    if not path.is_file():
        return None
    index = _empty(space.coarse_dim)
    index.view(str(path))
    return Graph(index, space.generation, facts["last_id"], facts["recall"])


def read_recall(connection: sqlite3.Connection, space: SpaceRow) -> float | None:
    """Return the measured recall of the graph of a space, None without a valid one."""
    facts = _facts(connection, space)
    if facts is None or facts["generation"] != space.generation:
        return None
    return float(facts["recall"])


def refresh_graph(
    connection: sqlite3.Connection,
    database: Path,
    space: SpaceRow,
    vectors: CoarseVectors,
    cancel: CancelToken,
) -> bool:
    """Build the graph where there are more than a million vectors and it is missing or old.

    Args:
        connection: the writer's.
        database: path of the index.
        space: of the vectors.
        vectors: all of them.
        cancel: ends the build; the exact scan goes on serving.

    Returns:
        Whether it was built.
    """
    if len(vectors) <= THRESHOLD or not is_possible():
        return False
    facts = _facts(connection, space)
    if facts is not None and facts["generation"] == space.generation:
        if len(vectors) - facts["count"] <= len(vectors) // _STALE_SHARE:
            return False
    index = _empty(space.coarse_dim)
    for start in range(0, len(vectors), _BATCH):
        cancel.raise_if_cancelled()
        part = slice(start, start + _BATCH)
        index.add(vectors.ids[part], _signed(vectors.codes[part]))
    facts = {
        "generation": space.generation,
        "last_id": vectors.last_id,
        "count": len(vectors),
        "recall": _measure_recall(index, vectors),
    }
    with new_file(graph_path(database, space), mode=PRIVATE) as file:
        index.save(str(file))
    with transaction(connection):
        write_meta(connection, _key(space), json.dumps(facts))
    return True


def _measure_recall(index: Any, vectors: CoarseVectors) -> float:
    """Compare with the exact scan: stored vectors, each pushed a quarter towards another one."""
    import numpy as np

    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(vectors), (2, _QUERIES))
    one, other = (vectors.codes[each].astype(np.float32) - ZERO_POINT for each in rows)
    queries = 0.75 * one + 0.25 * other
    scan, hits = CoarseScan(), 0
    for query in queries:
        exact = vectors.ids[best_rows(scan.scores(vectors.codes, vectors.scales, query), _TOP)]
        codes, _ = quantize_rows(query[None, :], vectors.codes.shape[1])
        found = index.search(_signed(codes)[0], 200).keys
        hits += len(set(exact.tolist()) & set(found.tolist()))
    return round(hits / (_TOP * _QUERIES), 4)


def _empty(width: int) -> Any:
    from embedge.runtime.engine import load_onnxruntime

    # In this order: with usearch 2.26 (numkong 7.8) first, loading ONNX Runtime 1.32 crashes.
    load_onnxruntime()
    from usearch.index import Index

    return Index(ndim=width, metric="cos", dtype="i8", expansion_search=_EXPANSION)


def _signed(codes: "NDArray[np.uint8]") -> "NDArray[np.int8]":
    """Return codes around zero: flipping the highest bit subtracts 128."""
    import numpy as np

    return (codes ^ np.uint8(ZERO_POINT)).view(np.int8)


def _facts(connection: sqlite3.Connection, space: SpaceRow) -> dict[str, Any] | None:
    stored = read_meta(connection, _key(space))
    return None if stored is None else dict(json.loads(stored))


def _key(space: SpaceRow) -> str:
    return f"usearch:{space.digest}"
