"""Vectors on disk, so that an interrupted evaluation goes on and a second one is quick."""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedge.models.errors import EmbedgeError

# Old builds of SQLite take at most 999 parameters in one statement.
_PARAMETERS = 500
_BUSY_S = 60.0


class VectorCache:
    """Vectors of one space by key, in one SQLite file.

    Every `add` is one transaction: a killed run keeps the blocks it finished and nothing else. Two
    processes may share a file. Memory does not grow with the number of vectors.
    """

    def __init__(self, path: Path, dim: int) -> None:
        """Open or create the file.

        Raises:
            EmbedgeError: it is damaged or cannot be written.
        """
        self._path = path
        self._dim = dim
        with self._naming_the_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS vectors"
                " (key BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID"
            )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def known(self, keys: Sequence[bytes]) -> set[bytes]:
        """Return those of `keys` that have a vector."""
        with self._naming_the_file():
            return {key for key, _ in self._rows("key, NULL", keys)}

    def add(self, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Store vectors (keys, dim), all or none of them."""
        assert vectors.shape == (len(keys), self._dim)
        rows = ((key, row.tobytes()) for key, row in zip(keys, _little(vectors), strict=True))
        with self._naming_the_file():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise

    def read(self, keys: Sequence[bytes]) -> NDArray[np.float32]:
        """Return the vectors of `keys` (keys, dim), in their order; each must be known."""
        with self._naming_the_file():
            stored = dict(self._rows("key, vector", keys))
        result = np.empty((len(keys), self._dim), np.float32)
        for row, key in zip(result, keys, strict=True):
            row[:] = np.frombuffer(stored[key], "<f4")
        return result

    def _rows(self, columns: str, keys: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
        for begin in range(0, len(keys), _PARAMETERS):
            chunk = keys[begin : begin + _PARAMETERS]
            marks = ",".join("?" * len(chunk))
            query = f"SELECT {columns} FROM vectors WHERE key IN ({marks})"
            yield from self._db.execute(query, chunk)

    @contextlib.contextmanager
    def _naming_the_file(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise EmbedgeError(
                f"the vector cache {self._path} cannot be used: {error}. Remove the file, or keep "
                f"no vectors with --no-cache."
            ) from error


def _little(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(vectors, dtype="<f4")
