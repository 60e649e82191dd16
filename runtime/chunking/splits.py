"""Split a region that is longer than the budget, at its best boundary, again and again.

A split looks at its region only, so an edit elsewhere cannot move it.
"""

import numpy as np
from numpy.typing import NDArray

from embedge.runtime.chunking.boundaries import Boundaries
from embedge.runtime.chunking.characters import is_grapheme_edge
from embedge.runtime.chunking.keys import KeyTable
from embedge.runtime.chunking.local_minima import WINDOW_TOKENS
from embedge.runtime.chunking.token_map import TokenMap

_MAX_CLUSTER = 1024
"""Code points of one grapheme that are kept together; longer ones are noise, not writing."""

_EDGE_TOKENS = 16
"""A region cut inside words may count this many tokens less alone than in the whole text; one
that is longer is split without counting, whatever the count would be."""


class Splitter:
    """Splits regions of one text; `budget` is the most tokens that a region may hold."""

    def __init__(
        self, boundaries: Boundaries, tokens: TokenMap, keys: KeyTable, budget: int
    ) -> None:
        self._positions = boundaries.positions
        self._classes = boundaries.classes
        self._places = tokens.index(boundaries.positions)  # tokens before each boundary
        self._keys = keys
        self._tokens = tokens
        self._token_keys = KeyTable(tokens.text, tokens.starts)
        self._edges = np.full(len(tokens.starts), -1, dtype=np.int8)  # -1: not looked at yet
        self._budget = budget

    def split(self, start: int, end: int) -> list[int]:
        """Return the starts of the pieces after the first, ascending."""
        cuts = []
        todo = [(start, end)]
        while todo:
            first, last = todo.pop()
            if last - first < 2 or self._fits(first, last):
                continue
            middle = self._best_cut(first, last)
            cuts.append(middle)
            todo += [(first, middle), (middle, last)]
        return sorted(cuts)

    def _fits(self, start: int, end: int) -> bool:
        if self._tokens.between(start, end) > self._budget + _EDGE_TOKENS:
            return False
        return self._tokens.count(start, end) <= self._budget

    def _best_cut(self, start: int, end: int) -> int:
        first, last = self._tokens.index_of(start), self._tokens.index_of(end)
        cut = self._at_boundary(start, end, first, last)
        if cut is None:
            cut = self._at_token(start, end, first, last)
        return self._at_middle(start, end) if cut is None else cut

    def _at_boundary(self, start: int, end: int, first: int, last: int) -> int | None:
        """Lowest class, then smallest key; equal keys of repeated text: the most central.

        Without that last rule a line of one repeated word would lose one margin at a time,
        in quadratic time.
        """
        margin = max(1, min(WINDOW_TOKENS // 2, (last - first) // 4))
        low = max(
            np.searchsorted(self._positions, start, side="right"),
            np.searchsorted(self._places, first + margin, side="left"),
        )
        high = min(
            np.searchsorted(self._positions, end, side="left"),
            np.searchsorted(self._places, last - margin, side="right"),
        )
        if low >= high:
            return None
        classes = self._classes[low:high]
        rows = low + np.flatnonzero(classes == classes.min())
        row = _smallest(rows, self._keys.take(rows), self._places[rows], (first + last) / 2)
        return int(self._positions[row])

    def _at_token(self, start: int, end: int, first: int, last: int) -> int | None:
        """Smallest key among the token edges in the middle half."""
        quarter = (last - first) // 4
        starts = self._tokens.starts
        rows = np.arange(first + quarter, last - quarter)
        rows = rows[(starts[rows] > start) & (starts[rows] < end)]
        rows = rows[self._are_edges(rows)]
        if not len(rows):
            return None
        row = _smallest(rows, self._token_keys.take(rows), rows, (first + last) / 2)
        return int(starts[row])

    def _are_edges(self, rows: NDArray[np.int64]) -> NDArray[np.bool]:
        """Tell which tokens start at the edge of a grapheme; each is looked at once."""
        unknown = rows[self._edges[rows] < 0]
        text = self._tokens.text
        for row, position in zip(
            unknown.tolist(), self._tokens.starts[unknown].tolist(), strict=True
        ):
            self._edges[row] = is_grapheme_edge(text, position)
        edges: NDArray[np.bool] = self._edges[rows] > 0
        return edges

    def _at_middle(self, start: int, end: int) -> int:
        """Without any usable token edge: the grapheme edge nearest to the middle."""
        text = self._tokens.text
        middle = (start + end) // 2
        for step in range(_MAX_CLUSTER):
            for position in (middle - step, middle + step):
                if start < position < end and is_grapheme_edge(text, position):
                    return position
        return middle


def _smallest(
    rows: NDArray[np.int64], keys: NDArray[np.uint64], places: NDArray[np.int64], middle: float
) -> int:
    """Return the row of the smallest key, of equal ones that nearest to the middle."""
    ties = np.flatnonzero(keys == keys.min())
    return int(rows[ties[np.argmin(np.abs(places[ties] - middle))]])
