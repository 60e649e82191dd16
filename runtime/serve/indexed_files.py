"""Files that the index knows, and no others: what a link on the search page may open."""

import sqlite3
from pathlib import Path, PurePosixPath

from embedge.runtime.index.connection import connect_reader
from embedge.runtime.index.reading import shown_path


def find_indexed_file(database: Path, path: str) -> Path | None:
    """Return the location of a file of some collection; None for any other path.

    Args:
        database: the index.
        path: as hits spell it: absolute, `/` separated.

    Raises:
        IndexDamaged: the index cannot be read.
        FileNotFoundError: there is none.
    """
    connection = connect_reader(database)
    try:
        return _find(connection, path)
    finally:
        connection.close()


def _find(connection: sqlite3.Connection, path: str) -> Path | None:
    roots = connection.execute("SELECT id, path FROM roots WHERE state = 'online'").fetchall()
    for root_id, root in roots:
        top = shown_path(root, "")
        below = path.removeprefix(top)
        if below == path or ".." in below.split("/"):  # no row leads out of its folder
            continue
        known = connection.execute(
            "SELECT 1 FROM files f JOIN collection_files cf ON cf.file_id = f.id"
            " WHERE f.root_id = ? AND f.rel_path = ? AND f.state <> 'missing'",
            (root_id, below),
        ).fetchone()
        if known is not None:
            location = Path(root, *PurePosixPath(below).parts)
            return location if location.is_file() else None
    return None
