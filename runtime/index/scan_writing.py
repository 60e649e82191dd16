"""Write what a scan found, 500 files to a transaction; nothing is ever deleted here."""

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import islice

from embedge.runtime.index.connection import now_ms, transaction
from embedge.runtime.index.scan import Change, Scan

_BATCH = 500


def write_scan(connection: sqlite3.Connection, scan: Scan) -> None:
    """Bring rows of roots and files, and the membership of collections, up to date.

    Killed between two batches, the next scan finds the rest.
    """
    with transaction(connection):
        _write_roots(connection, scan)
    for batch in _batches(scan.changes):
        with transaction(connection):
            for change in batch:
                _write_change(connection, change, scan.scanned_ms)
    for collection_id, members in scan.members.items():
        _write_members(connection, scan, collection_id, members)


def _batches(changes: Sequence[Change]) -> Iterator[list[Change]]:
    rest = iter(changes)
    while batch := list(islice(rest, _BATCH)):
        yield batch


def _write_roots(connection: sqlite3.Connection, scan: Scan) -> None:
    for root_id, volume_id in scan.online.items():
        connection.execute(
            "UPDATE roots SET state = 'online', volume_id = coalesce(?, volume_id),"
            " last_seen_ms = ? WHERE id = ?",
            (volume_id, scan.scanned_ms, root_id),
        )
    for root_id in scan.offline:
        connection.execute("UPDATE roots SET state = 'offline' WHERE id = ?", (root_id,))


def _write_change(connection: sqlite3.Connection, change: Change, scanned_ms: int) -> None:
    if change.kind == "missing":
        connection.execute(
            "UPDATE files SET state = 'missing', missing_since_ms = ? WHERE id = ?",
            (now_ms(), change.file_id),
        )
        return
    stat = change.stat
    values = (
        change.root_id, change.rel_path,
        stat and stat.size, stat and stat.mtime_ns, stat and stat.ctime_ns, stat and stat.inode,
        change.state, change.reason, change.message, scanned_ms,
    )  # fmt: skip
    if change.file_id is None:
        connection.execute(
            "INSERT INTO files(root_id, rel_path, size, mtime_ns, ctime_ns, inode, state, reason,"
            " message, scanned_ms) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )
        return
    connection.execute(
        "UPDATE files SET root_id = ?, rel_path = ?, size = ?, mtime_ns = ?, ctime_ns = ?,"
        " inode = ?, state = ?, reason = ?, message = ?, scanned_ms = ?, missing_since_ms = NULL"
        " WHERE id = ?",
        (*values, change.file_id),
    )
    if change.kind == "changed":  # the hash is that of the content before
        connection.execute("UPDATE files SET sha256 = NULL WHERE id = ?", (change.file_id,))
    if change.state == "skipped":  # what it once said is no longer there
        connection.execute("DELETE FROM chunkings WHERE file_id = ?", (change.file_id,))


def _write_members(
    connection: sqlite3.Connection,
    scan: Scan,
    collection_id: int,
    members: set[tuple[int, str]],
) -> None:
    """Select what the walk took; below unlisted folders and offline roots all stays as it is."""
    selected = {
        (root_id, path): file_id
        for file_id, root_id, path in connection.execute(
            "SELECT f.id, f.root_id, f.rel_path FROM files f JOIN collection_files cf"
            " ON cf.file_id = f.id WHERE cf.collection_id = ? AND f.state <> 'missing'",
            (collection_id,),
        )
    }
    roots = connection.execute(
        "SELECT root_id FROM collection_roots WHERE collection_id = ?", (collection_id,)
    )
    own = {root_id for (root_id,) in roots}
    dropped = [
        file_id
        for place, file_id in selected.items()
        if place not in members
        and (place[0] in scan.online or place[0] not in own)  # moved out of the collection
        and file_id not in scan.kept
    ]
    added = sorted(members - selected.keys())
    for start in range(0, len(dropped), _BATCH):
        with transaction(connection):
            connection.executemany(
                "DELETE FROM collection_files WHERE collection_id = ? AND file_id = ?",
                [(collection_id, file_id) for file_id in dropped[start : start + _BATCH]],
            )
    for start in range(0, len(added), _BATCH):
        with transaction(connection):
            connection.executemany(
                "INSERT INTO collection_files SELECT ?, id FROM files WHERE root_id = ?"
                " AND rel_path = ? ON CONFLICT DO NOTHING",
                [(collection_id, *place) for place in added[start : start + _BATCH]],
            )
