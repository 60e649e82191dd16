"""The list by meaning: a coarse scan of every vector, then exact cosines of the candidates."""

import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embedge.runtime.cancel import CancelToken
from embedge.runtime.index.approximate import THRESHOLD, Graph, load_graph, refresh_graph
from embedge.runtime.index.coarse_cache import CoarseVectors, join_parts, load_coarse
from embedge.runtime.index.coarse_scan import CoarseScan, best_rows
from embedge.runtime.index.live import LIVE_CHUNKS
from embedge.runtime.index.rows import SpaceRow, find_collections
from embedge.runtime.index.vectors import read_fine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CANDIDATES = 200
"""Of 300 real questions over 199,000 passages, 100 candidates held 0.999 of the true top 10 and
200 held all of it (384 features cut to 256)."""


@dataclass(frozen=True)
class VectorMatch:
    """One text: its key, exact cosine and score of the scan."""

    key: bytes
    cosine: float
    coarse: float


@dataclass(frozen=True)
class _Mask:
    """Ids of the vectors that some collections hold, in one state of the index."""

    state: tuple[int, ...]
    ids: "NDArray[np.int64]"


class VectorSearch:
    """Keeps what searches of one index share: the mapped caches, the kernel, masks."""

    def __init__(self, database: Path, *, writable: bool, threads: int | None = None) -> None:
        self._database = database
        self._writable = writable
        self._scan = CoarseScan(threads)
        self._held: dict[str, tuple[CoarseVectors, ...]] = {}
        self._graphs: dict[str, Graph | None] = {}
        self._masks: dict[tuple[str, tuple[int, ...]], _Mask] = {}
        self._lock = threading.Lock()

    def load(self, connection: sqlite3.Connection, space: SpaceRow) -> tuple[CoarseVectors, ...]:
        """Return the coarse vectors of a space in the state that the connection sees."""
        with self._lock:
            held = self._held.get(space.fingerprint, ())
            parts = load_coarse(connection, self._database, space, held, writable=self._writable)
            self._held[space.fingerprint] = parts
            return parts

    def refresh(self, connection: sqlite3.Connection, cancel: CancelToken) -> None:
        """Write the caches of all spaces in use, so that the next search need not.

        Args:
            connection: the writer's.
            cancel: ends the building of a graph.
        """
        for space in {each.space for each in find_collections(connection)}:
            parts = self.load(connection, space)
            if sum(map(len, parts)) > THRESHOLD:
                refresh_graph(connection, self._database, space, join_parts(parts), cancel)

    def search(
        self,
        connection: sqlite3.Connection,
        space: SpaceRow,
        query: "NDArray[np.float32]",
        collections: Sequence[int],
        count: int,
        *,
        paths: "Sequence[int] | None" = None,
    ) -> list[VectorMatch]:
        """Return at most `count` texts of the collections, best first.

        Args:
            connection: a reader's.
            space: of the collections.
            query: (dim,), unit length.
            collections: ids; all of one space.
            count: most results.
            paths: ids of the only files that count; all when None.
        """
        parts = self.load(connection, space)
        if not any(map(len, parts)):
            return []
        masked = paths is not None or not self._is_whole(connection, space, collections)
        found: list[VectorMatch] = []
        while True:
            allowed = self._allowed(connection, space, collections, paths) if masked else None
            graph = None if masked else self._graph(connection, space, parts)
            rows = self._candidates(parts, query, count, allowed, graph)
            found = _exact(connection, rows, query)
            if masked:
                return found
            live = _live_keys(connection, collections, [match.key for match in found])
            found = [match for match in found if match.key in live]
            if len(found) * 2 >= len(rows):
                return found
            masked = True  # mostly vectors whose text is gone: look only at the others

    def _is_whole(
        self, connection: sqlite3.Connection, space: SpaceRow, collections: Sequence[int]
    ) -> bool:
        rows = connection.execute("SELECT id FROM collections WHERE space_id = ?", (space.id,))
        return {row[0] for row in rows} <= set(collections)

    def _candidates(
        self,
        parts: Sequence[CoarseVectors],
        query: "NDArray[np.float32]",
        count: int,
        allowed: "NDArray[np.int64] | None",
        graph: Graph | None,
    ) -> list[tuple[int, float]]:
        """Return (id, score) of the best vectors of all parts."""
        import numpy as np

        best: list[tuple[int, float]] = []
        if graph is not None:
            best += graph.search(query, parts[0].codes.shape[1], count)
            parts = [part.after(graph.last_id) for part in parts]
        for part in parts:
            scores = self._scan.scores(part.codes, part.scales, query)
            if allowed is not None:
                keep = np.isin(part.ids, allowed, assume_unique=True)
                scores = np.where(keep, scores, -np.inf)
            for row in best_rows(scores, count).tolist():
                if scores[row] > -np.inf:
                    best.append((int(part.ids[row]), float(scores[row])))
        best.sort(key=lambda pair: (-pair[1], pair[0]))
        return best[:count]

    def _graph(
        self,
        connection: sqlite3.Connection,
        space: SpaceRow,
        parts: Sequence[CoarseVectors],
    ) -> Graph | None:
        """Return the graph that may stand in for most of the scan, where there are very many."""
        if sum(map(len, parts)) <= THRESHOLD:
            return None
        with self._lock:
            graph = self._graphs.get(space.fingerprint)
            if graph is None or graph.generation != space.generation:
                graph = load_graph(connection, self._database, space)
                self._graphs[space.fingerprint] = graph
            return graph

    def _allowed(
        self,
        connection: sqlite3.Connection,
        space: SpaceRow,
        collections: Sequence[int],
        paths: Sequence[int] | None,
    ) -> "NDArray[np.int64]":
        """Return the ids of the vectors that belong to the collections, rising."""
        if paths is not None:
            return _vector_ids(connection, space, collections, set(paths))
        state = _state(connection, space)
        key = (space.fingerprint, tuple(sorted(collections)))
        with self._lock:
            mask = self._masks.get(key)
        if mask is None or mask.state != state:
            mask = _Mask(state, _vector_ids(connection, space, collections, None))
            with self._lock:
                self._masks[key] = mask
        return mask.ids


def cosines_of(
    connection: sqlite3.Connection,
    space: SpaceRow,
    query: "NDArray[np.float32]",
    keys: Sequence[bytes],
) -> dict[bytes, float]:
    """Return the exact cosine of each text that has a vector."""
    marks = ",".join("?" * len(keys))
    rows = connection.execute(
        f"SELECT text_sha256, fine FROM vectors WHERE space_id = ? AND text_sha256 IN ({marks})",
        (space.id, *keys),
    )
    return {key: _cosine(fine, query) for key, fine in rows}


def _exact(
    connection: sqlite3.Connection, rows: Sequence[tuple[int, float]], query: "NDArray[np.float32]"
) -> list[VectorMatch]:
    found: list[VectorMatch] = []
    coarse = dict(rows)
    ids = list(coarse)
    for start in range(0, len(ids), 10_000):
        some = ids[start : start + 10_000]
        marks = ",".join("?" * len(some))
        found += [
            VectorMatch(key, _cosine(fine, query), coarse[vector_id])
            for vector_id, key, fine in connection.execute(
                f"SELECT id, text_sha256, fine FROM vectors WHERE id IN ({marks}) ORDER BY id",
                some,
            )
        ]
    return sorted(found, key=lambda match: -match.cosine)


def _cosine(fine: bytes, query: "NDArray[np.float32]") -> float:
    """Both are unit vectors; float16 moves their length by less than a thousandth."""
    import numpy as np

    vector = read_fine(fine)
    return float(vector @ query / np.sqrt(vector @ vector))


def _live_keys(
    connection: sqlite3.Connection, collections: Sequence[int], keys: Sequence[bytes]
) -> set[bytes]:
    """Return those of the texts that stand in a file of the collections."""
    live: set[bytes] = set()
    marks = ",".join("?" * len(collections))
    for start in range(0, len(keys), 10_000):
        some = keys[start : start + 10_000]
        rows = connection.execute(
            # CROSS: SQLite would start with the collections, and look at every chunk.
            f"SELECT DISTINCT c.text_sha256 FROM chunks c CROSS JOIN files f ON f.id = c.file_id"
            f" AND f.state <> 'missing' CROSS JOIN collection_files cf ON cf.file_id = f.id"
            f" AND cf.collection_id IN ({marks})"
            f" WHERE c.text_sha256 IN ({','.join('?' * len(some))})",
            (*collections, *some),
        )
        live.update(key for (key,) in rows)
    return live


def _vector_ids(
    connection: sqlite3.Connection,
    space: SpaceRow,
    collections: Sequence[int],
    paths: set[int] | None,
) -> "NDArray[np.int64]":
    import numpy as np

    marks = ",".join("?" * len(collections))
    rows = connection.execute(
        f"SELECT v.id, f.id FROM {LIVE_CHUNKS} JOIN vectors v ON v.space_id = ?"
        f" AND v.text_sha256 = c.text_sha256 WHERE co.id IN ({marks})",
        (space.id, *collections),
    )
    if paths is None:
        ids = {vector_id for vector_id, _ in rows}
    else:
        ids = {vector_id for vector_id, file_id in rows if file_id in paths}
    return np.array(sorted(ids), dtype=np.int64)


def _state(connection: sqlite3.Connection, space: SpaceRow) -> tuple[int, ...]:
    """Return what changes when a vector may enter or leave a collection."""
    row = connection.execute(
        "SELECT coalesce((SELECT max(id) FROM vectors), 0), coalesce((SELECT max(id) FROM chunks),"
        " 0), coalesce((SELECT max(coalesce(ended_ms, started_ms)) FROM runs), 0),"
        " (SELECT count(*) FROM files WHERE state = 'missing')"
    ).fetchone()
    return (space.generation, *map(int, row))
