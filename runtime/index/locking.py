"""One writer at a time: a lock that the system releases when its holder dies."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from embedge.models.errors import IndexLocked
from embedge.models.file_lock import FileLock
from embedge.runtime.index.connection import make_private_file, make_private_folder, now_ms

_CONTENT_AT = 1
"""The first byte is what Windows locks; who holds the lock is written behind it."""


@contextmanager
def writer_lock(database: Path) -> Iterator[None]:
    """Be the only writer of an index within the block.

    Raises:
        IndexLocked: another process writes; names its process number and start.
    """
    make_private_folder(database.parent)
    path = lock_path(database)
    make_private_file(path)
    lock = FileLock(path)
    if not lock.acquire():
        raise IndexLocked(
            f"{database} is being written by {_holder(path)}. Wait for it or end it; searching "
            "goes on meanwhile."
        )
    try:
        _write_holder(path)
        yield
    finally:
        lock.release()


def lock_path(database: Path) -> Path:
    """Return the path of the lock file."""
    return database.with_name(database.name + ".lock")


def _write_holder(path: Path) -> None:
    holder = json.dumps({"pid": os.getpid(), "since_ms": now_ms()})
    with path.open("r+b") as file:
        file.seek(_CONTENT_AT)
        file.write(holder.encode())
        file.truncate()


def _holder(path: Path) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError), path.open("rb") as file:
        file.seek(_CONTENT_AT)
        holder = json.loads(file.read(200))
        since = datetime.fromtimestamp(holder["since_ms"] / 1000, UTC)
        return f"process {int(holder['pid'])} since {since:%Y-%m-%d %H:%M:%S} UTC"
    return "another process"
