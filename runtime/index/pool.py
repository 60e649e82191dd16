"""Connections for readers, lent one at a time, so that any number of threads may search."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedge.models.errors import InvalidOption
from embedge.runtime.index.connection import connect_reader, damage_named, snapshot


class Readers:
    """Read-only connections to one index; each is used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._free: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    @contextmanager
    def borrow(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that sees one state of the index during the whole block.

        Raises:
            InvalidOption: there is no index yet.
            IndexDamaged: the file is none, or is damaged.
        """
        connection = self._take()
        try:
            with damage_named(self._path), snapshot(connection):
                yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._free.append(connection)

    def close(self) -> None:
        """Close what is not lent."""
        with self._lock:
            while self._free:
                self._free.pop().close()

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._free:
                return self._free.pop()
        try:
            return connect_reader(self._path)
        except FileNotFoundError:
            raise no_index(self._path) from None


def no_index(path: Path) -> InvalidOption:
    """Return the error for an index that nobody has made yet."""
    return InvalidOption(
        f"there is no index at {path}; make one with `embed index add FOLDER`, or name another "
        "with --db"
    )
