"""Forget what nothing refers to any more, after a grace time."""

import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from embedge.runtime.index.approximate import graph_path
from embedge.runtime.index.coarse_cache import cache_path
from embedge.runtime.index.connection import now_ms
from embedge.runtime.index.folder_runs import undone_unless_kept
from embedge.runtime.index.live import CHUNKER_OF_FILE
from embedge.runtime.index.results import GcReport
from embedge.runtime.index.rows import all_spaces, find_collections
from embedge.runtime.index.targets import current_target

_DAY_MS = 24 * 3600 * 1000
_FREE_SHARE = 4


@dataclass(frozen=True)
class _Set:
    """What one collection is searched by, or moves to."""

    collection_id: int
    space_id: int | None
    chunker_id: int | None


def collect_garbage(
    connection: sqlite3.Connection, database: Path, *, grace_days: float, dry_run: bool
) -> GcReport:
    """Mark vectors without text; delete marks, missing files and unused chunks past the grace time.

    Nothing under an offline root is touched. With `dry_run` everything is undone.

    Args:
        connection: a writer's.
        database: path of the index; caches of emptied spaces beside it are removed.
        grace_days: since the mark, or since the file was first missed.
        dry_run: only count.
    """
    now = now_ms()
    before_ms = now - int(grace_days * _DAY_MS)
    with undone_unless_kept(connection) as keep:
        n_files = _delete_files(connection, before_ms)
        sets = _sets(connection)
        n_chunks, chunk_bytes = _delete_chunkings(connection, sets)
        marked = _mark(connection, sets, now)
        n_vectors, vector_bytes = _delete_vectors(connection, before_ms)
        n_roots = connection.execute(
            "DELETE FROM roots WHERE id NOT IN (SELECT root_id FROM collection_roots)"
            " AND id NOT IN (SELECT root_id FROM files)"
        ).rowcount
        if not dry_run:
            keep()
    freed = 0
    if not dry_run:
        freed = _give_back_pages(connection)
        _remove_caches(connection, database)
    return GcReport(
        dry_run=dry_run,
        marked=marked,
        vectors=n_vectors,
        chunks=n_chunks,
        files=n_files,
        roots=n_roots,
        bytes=chunk_bytes + vector_bytes,
        freed_bytes=freed,
    )


def _delete_files(connection: sqlite3.Connection, before_ms: int) -> int:
    """Delete files missing for long, and files that no collection selects."""
    return connection.execute(
        "DELETE FROM files WHERE root_id IN (SELECT id FROM roots WHERE state <> 'offline') AND ("
        " (state = 'missing' AND missing_since_ms <= ?)"
        " OR (state <> 'missing' AND id NOT IN (SELECT file_id FROM collection_files)))",
        (before_ms,),
    ).rowcount


def _sets(connection: sqlite3.Connection) -> list[_Set]:
    sets = []
    for collection in find_collections(connection):
        sets.append(_Set(collection.id, collection.space.id, collection.chunker.id))
        target = current_target(connection, collection)
        if target.is_move:
            sets.append(_Set(collection.id, target.space_id, target.chunker_id))
    return sets


def _delete_chunkings(connection: sqlite3.Connection, sets: list[_Set]) -> tuple[int, int]:
    """Delete chunks that no collection would show; return their number and size."""
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS used_chunkings(file_id, chunker_id)")
    connection.execute("DELETE FROM temp.used_chunkings")
    for each in sets:
        connection.execute(
            "INSERT INTO temp.used_chunkings SELECT f.id, "
            + CHUNKER_OF_FILE.format(chunker=":chunker")
            + " FROM files f JOIN collection_files cf ON cf.file_id = f.id"
            " WHERE cf.collection_id = :collection",
            {"chunker": each.chunker_id, "collection": each.collection_id},
        )
    unused = (
        "(file_id, chunker_id) NOT IN (SELECT file_id, chunker_id FROM temp.used_chunkings"
        " WHERE chunker_id IS NOT NULL) AND file_id IN (SELECT f.id FROM files f"
        " JOIN roots r ON r.id = f.root_id AND r.state <> 'offline')"
    )
    count, size = connection.execute(
        f"SELECT count(*), coalesce(sum(length(text)), 0) FROM chunks WHERE {unused}"
    ).fetchone()
    connection.execute(f"DELETE FROM chunkings WHERE {unused}")
    return int(count), int(size)


def _mark(connection: sqlite3.Connection, sets: list[_Set], now: int) -> int:
    """Mark vectors that no chunk of a collection in their space refers to; unmark the others."""
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS used_vectors(id INTEGER PRIMARY KEY)")
    connection.execute("DELETE FROM temp.used_vectors")
    for each in sets:
        connection.execute(
            "INSERT INTO temp.used_vectors SELECT v.id FROM collection_files cf"
            " JOIN files f ON f.id = cf.file_id"
            " JOIN chunks c ON c.file_id = f.id AND c.chunker_id = "
            + CHUNKER_OF_FILE.format(chunker=":chunker")
            + " JOIN vectors v ON v.space_id = :space AND v.text_sha256 = c.text_sha256"
            " WHERE cf.collection_id = :collection ON CONFLICT DO NOTHING",
            {
                "chunker": each.chunker_id,
                "collection": each.collection_id,
                "space": each.space_id,
            },
        )
    connection.execute("DELETE FROM orphans WHERE vector_id IN (SELECT id FROM temp.used_vectors)")
    return connection.execute(
        "INSERT INTO orphans SELECT id, ? FROM vectors WHERE id NOT IN"
        " (SELECT id FROM temp.used_vectors) ON CONFLICT DO NOTHING",
        (now,),
    ).rowcount


def _delete_vectors(connection: sqlite3.Connection, before_ms: int) -> tuple[int, int]:
    old = "id IN (SELECT vector_id FROM orphans WHERE since_ms <= ?)"
    count, size = connection.execute(
        "SELECT count(*), coalesce(sum(length(fine) + length(coarse)), 0) FROM vectors"
        f" WHERE {old}",
        (before_ms,),
    ).fetchone()
    connection.execute(f"DELETE FROM vectors WHERE {old}", (before_ms,))
    return int(count), int(size)


def _give_back_pages(connection: sqlite3.Connection) -> int:
    """Shrink the file when more than a quarter of it is free; no second copy is needed."""
    free, total, size = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("freelist_count", "page_count", "page_size")
    )
    if free * _FREE_SHARE <= total:
        return 0
    connection.executescript("PRAGMA incremental_vacuum")  # steps through all pages, not one
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    left = int(connection.execute("PRAGMA freelist_count").fetchone()[0])
    return (free - left) * size


def _remove_caches(connection: sqlite3.Connection, database: Path) -> None:
    for space in all_spaces(connection):
        row = connection.execute("SELECT 1 FROM vectors WHERE space_id = ? LIMIT 1", (space.id,))
        if row.fetchone() is None:
            for path in (cache_path(database, space), graph_path(database, space)):
                with suppress(OSError):  # Windows keeps what a search has mapped
                    path.unlink(missing_ok=True)


def remove_files(connection: sqlite3.Connection) -> int:
    """Delete files, and then roots, that no collection takes; within a transaction."""
    count = connection.execute(
        "DELETE FROM files WHERE id NOT IN (SELECT file_id FROM collection_files)"
    ).rowcount
    connection.execute("DELETE FROM roots WHERE id NOT IN (SELECT root_id FROM collection_roots)")
    return count
