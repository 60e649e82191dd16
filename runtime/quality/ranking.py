"""The best documents of each query, while the corpus passes by in blocks."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Scores held at once: 64 MB of float32.
_MAX_SCORES = 1 << 24


class TopDocuments:
    """Exact search by inner product; memory for `depth` results per query, not for the corpus."""

    def __init__(self, queries: NDArray[np.float32], depth: int) -> None:
        """Take the vectors (queries, dim) and how many documents to keep for each."""
        self._queries = queries
        self._depth = depth
        self._scores = np.empty((len(queries), 0), np.float32)
        self._found = np.empty((len(queries), 0), np.int64)
        self._ids: list[str] = []

    def add(self, ids: Sequence[str], documents: NDArray[np.float32]) -> None:
        """Rank further documents, vectors (n, dim), among those seen before."""
        step = max(1, _MAX_SCORES // max(1, len(self._queries)) - self._depth)
        for begin in range(0, len(ids), step):
            self._add(ids[begin : begin + step], documents[begin : begin + step])

    def _add(self, ids: Sequence[str], documents: NDArray[np.float32]) -> None:
        first = len(self._ids)
        self._ids += ids
        numbers = np.arange(first, first + len(ids))
        scores = np.hstack([self._scores, self._queries @ documents.T])
        found = np.hstack([self._found, np.broadcast_to(numbers, (len(scores), len(ids)))])
        if scores.shape[1] > self._depth:
            keep = np.argpartition(-scores, self._depth, axis=1)[:, : self._depth]
            scores = np.take_along_axis(scores, keep, axis=1)
            found = np.take_along_axis(found, keep, axis=1)
        self._scores, self._found = scores, found

    def run(self, query_ids: Sequence[str]) -> dict[str, dict[str, float]]:
        """Return query id -> document id -> score."""
        return {
            query: {self._ids[j]: float(score) for j, score in zip(found, scores, strict=True)}
            for query, found, scores in zip(query_ids, self._found, self._scores, strict=True)
        }
