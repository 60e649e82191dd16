"""Whether anything can be pending at all: asking for every passage takes seconds on a large index.

Nothing is pending after a complete run, and stays so while no chunk is added, no vector deleted,
and the collection has the same files. That state is kept in `meta` and compared; it is a shortcut,
and losing it costs one full question.
"""

import hashlib
import sqlite3

from embedge.runtime.index.meta import read_meta, write_meta
from embedge.runtime.index.rows import CollectionRow, space_by_id
from embedge.runtime.index.targets import Target


def is_settled(connection: sqlite3.Connection, collection: CollectionRow, target: Target) -> bool:
    """Tell whether nothing that could be pending has changed since the last complete run."""
    return read_meta(connection, _key(collection.id)) == _state(connection, collection, target)


def settle(connection: sqlite3.Connection, collection: CollectionRow, target: Target) -> None:
    """Note that nothing is pending; within a transaction."""
    write_meta(connection, _key(collection.id), _state(connection, collection, target))


def forget_settled(connection: sqlite3.Connection, collection_id: int) -> None:
    """Drop the note of a collection that is removed: its id may come again."""
    write_meta(connection, _key(collection_id), None)


def _key(collection_id: int) -> str:
    return f"settled:{collection_id}"


def _state(connection: sqlite3.Connection, collection: CollectionRow, target: Target) -> str:
    assert target.space_id is not None
    generation = space_by_id(connection, target.space_id).generation
    last_chunk = connection.execute("SELECT max(id) FROM chunks").fetchone()[0] or 0
    files = connection.execute(
        "SELECT f.id FROM collection_files cf JOIN files f ON f.id = cf.file_id"
        " AND f.state <> 'missing' WHERE cf.collection_id = ? ORDER BY f.id",
        (collection.id,),
    ).fetchall()
    digest = hashlib.sha256(repr(files).encode()).hexdigest()[:16]
    return f"{target.space_id} {target.chunker_id} {generation} {last_chunk} {digest}"
