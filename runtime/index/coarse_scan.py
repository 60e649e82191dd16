"""Score every vector of a space against a query, in exact integers.

One `MatMulInteger` of ONNX Runtime over 8-bit rows, in the form its fastest kernel reads: rows
unsigned with zero point 128, the query signed within 7 bits. `scan.onnx` holds nothing else.
"""

import threading
from importlib.resources import files
from typing import TYPE_CHECKING

from embedge.runtime.index.vectors import quantize_query

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedge.runtime.engine import Session

GRAPH_NAME = "scan.onnx"
_BLOCK = 256


class CoarseScan:
    """The scan kernel, opened on first use."""

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._session: Session | None = None
        self._lock = threading.Lock()

    def scores(
        self,
        codes: "NDArray[np.uint8]",
        scales: "NDArray[np.float32]",
        query: "NDArray[np.float32]",
    ) -> "NDArray[np.float32]":
        """Return approximate cosines, (n,).

        Args:
            codes: (n, width), zero at 128; may be mapped from a file.
            scales: (n,).
            query: (dim,), dim at least width.
        """
        import numpy as np

        if not len(codes):
            return np.zeros(0, dtype=np.float32)
        row, scale = quantize_query(query, codes.shape[1])
        # Sums stay below 2**24 up to 1,024 features, so float32 holds them exactly.
        scores = self.integer_sums(codes, row).astype(np.float32)
        scores *= scales
        scores *= np.float32(scale)
        return scores

    def integer_sums(
        self, codes: "NDArray[np.uint8]", query: "NDArray[np.int8]"
    ) -> "NDArray[np.int32]":
        """Return sum((codes - 128) * query) of every row, (n,), exactly.

        Args:
            codes: (n, width).
            query: (width,) from -64 to 64.
        """
        import numpy as np

        (sums,) = self._open().run(None, {"x": codes, "q": query[:, None]})
        return np.asarray(sums, dtype=np.int32)[:, 0]

    def _open(self) -> "Session":
        with self._lock:
            if self._session is None:
                from embedge.runtime.cpu import plan_threads
                from embedge.runtime.engine import open_session

                graph = (files("embedge.runtime.index") / GRAPH_NAME).read_bytes()
                threads = self._threads or plan_threads().threads
                self._session = open_session(graph, threads=threads)
            return self._session


def best_rows(scores: "NDArray[np.float32]", count: int) -> "NDArray[np.int64]":
    """Return the rows of the highest scores, best first; of equal ones the earlier row.

    Sorting a million scores takes longer than computing them. The `count`-th best maximum of
    blocks is a floor that at least `count` scores reach, and few others do.
    """
    import numpy as np

    count = min(count, len(scores))
    if not count:
        return np.zeros(0, dtype=np.int64)
    whole = len(scores) // _BLOCK
    if whole > count:
        blocks = scores[: whole * _BLOCK].reshape(whole, _BLOCK).max(axis=1)
        floor = np.partition(blocks, whole - count)[whole - count]
        rows = np.flatnonzero(scores >= floor)
    else:
        rows = np.arange(len(scores))
    order = np.lexsort((rows, -scores[rows]))
    best: NDArray[np.int64] = rows[order[:count]]
    return best
