"""The log of runs that wrote to the index, and how fast the last ones embedded."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from embedge.models.errors import Cancelled
from embedge.runtime.index.connection import now_ms, transaction
from embedge.runtime.index.meta import read_meta, write_meta
from embedge.runtime.index.results import RunStatus
from embedge.runtime.index.rows import SpaceRow

_KEPT_RUNS = 200
_MIN_TOKENS = 2_000
"""Fewer tokens say more about starting up than about speed."""


@contextmanager
def logged_run(connection: sqlite3.Connection, kind: str) -> Iterator[int]:
    """Log the block as a run; yields its id. Runs that died are marked first: we hold the lock."""
    from embedge import __version__

    with transaction(connection):
        connection.execute("UPDATE runs SET status = 'failed' WHERE status = 'running'")
        connection.execute(
            "DELETE FROM runs WHERE id <= (SELECT max(id) FROM runs) - ?", (_KEPT_RUNS,)
        )
        run_id = connection.execute(
            "INSERT INTO runs(kind, status, started_ms, files_done, chunks_done, chunks_reused,"
            " tokens_done, errors, tool_version, host_json)"
            " VALUES(?, 'running', ?, 0, 0, 0, 0, 0, ?, ?)",
            (kind, now_ms(), __version__, json.dumps({"pid": os.getpid()})),
        ).lastrowid
    assert run_id is not None
    status = "failed"
    try:
        yield run_id
        status = "done"
    except (Cancelled, KeyboardInterrupt):
        status = "cancelled"
        raise
    finally:
        with transaction(connection):
            connection.execute(
                "UPDATE runs SET status = ?, ended_ms = ? WHERE id = ?", (status, now_ms(), run_id)
            )


def count_in_run(connection: sqlite3.Connection, run_id: int, **counts: int) -> None:
    """Add to counters of a run; within a transaction."""
    changes = ", ".join(f"{name} = coalesce({name}, 0) + ?" for name in counts)
    connection.execute(f"UPDATE runs SET {changes} WHERE id = ?", (*counts.values(), run_id))


def last_run(connection: sqlite3.Connection) -> RunStatus | None:
    """Return the newest run."""
    row = connection.execute(
        "SELECT kind, status, started_ms, ended_ms, files_done, chunks_done, chunks_reused,"
        " tokens_done, errors FROM runs ORDER BY id DESC LIMIT 1"
    ).fetchone()
    if row is None:
        return None
    kind, status, started, ended, *counts = row
    files, chunks, reused, tokens, errors = (count or 0 for count in counts)
    seconds = (ended - started) / 1000 if ended else 0
    return RunStatus(
        kind=kind,
        status=status,
        started_ms=started,
        ended_ms=ended,
        files_done=files,
        chunks_done=chunks,
        chunks_reused=reused,
        tokens_done=tokens,
        errors=errors,
        tokens_per_s=round(tokens / seconds, 1) if seconds and tokens else None,
    )


def write_rate(
    connection: sqlite3.Connection, space: SpaceRow, tokens: int, seconds: float
) -> None:
    """Keep tokens per second of a space, for later plans; within a transaction."""
    if tokens >= _MIN_TOKENS and seconds > 0:
        write_meta(connection, f"rate:{space.digest}", f"{tokens / seconds:.1f}")


def read_rate(connection: sqlite3.Connection, space: SpaceRow) -> float | None:
    """Return the tokens per second that were last measured for a space."""
    value = read_meta(connection, f"rate:{space.digest}")
    return None if value is None else float(value)
