"""An order among boundaries that depends on nothing but the text around each."""

import hashlib

import numpy as np
from numpy.typing import NDArray

CONTEXT_CHARS = 32
"""Characters before and after a boundary that decide its key."""


def boundary_key(text: str, position: int) -> int:
    """Hash the characters around a boundary, white space collapsed, to 64 bits."""
    before = " ".join(text[max(0, position - CONTEXT_CHARS) : position].split())
    after = " ".join(text[position : position + CONTEXT_CHARS].split())
    context = f"{before}|{after}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(context, digest_size=8).digest())


class KeyTable:
    """Keys of many positions, each computed when first asked for and then kept."""

    def __init__(self, text: str, positions: NDArray[np.int64]) -> None:
        self._text = text
        self._positions = positions
        self._keys = np.zeros(len(positions), dtype=np.uint64)
        self._known = np.zeros(len(positions), dtype=bool)

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return the keys of the given rows of `positions`, (rows,), uint64."""
        missing = rows[~self._known[rows]]
        text = self._text
        for row, position in zip(missing.tolist(), self._positions[missing].tolist(), strict=True):
            self._keys[row] = boundary_key(text, position)
        self._known[missing] = True
        keys: NDArray[np.uint64] = self._keys[rows]
        return keys
