"""Take a collection, a folder or a file out of the index; vectors stay until `gc`."""

import os
import sqlite3
from dataclasses import replace

from embedge.models.errors import InvalidOption
from embedge.runtime.index.connection import transaction
from embedge.runtime.index.garbage import remove_files
from embedge.runtime.index.rows import RootRow, all_roots, find_collections, link_root, roots_of
from embedge.runtime.index.settled import forget_settled
from embedge.runtime.index.targets import forget_move


def remove(connection: sqlite3.Connection, name_or_path: str) -> int:
    """Remove a collection by name, else what lies at a path; return the number of files.

    A file or folder below a root is excluded from then on, so that no update brings it back.

    Raises:
        InvalidOption: the index knows neither.
    """
    names = {each.name: each.id for each in find_collections(connection)}
    if name_or_path in names:
        return _remove_collection(connection, names[name_or_path])
    path = os.path.abspath(os.path.expanduser(name_or_path))
    roots = all_roots(connection)
    for root in roots:
        if root.path == path:
            return _remove_root(connection, root)
    for root in sorted(roots, key=lambda root: -len(root.path)):
        below = os.path.relpath(path, root.path).replace(os.sep, "/")
        if not below.startswith("..") and _is_known(connection, root, below):
            return _remove_below(connection, root, below)
    raise InvalidOption(
        f"{name_or_path} is no collection and no path of this index; "
        f"collections are {', '.join(names) or 'none'}, files are in `embed index ls`"
    )


def _remove_collection(connection: sqlite3.Connection, collection_id: int) -> int:
    with transaction(connection):
        connection.execute("DELETE FROM collections WHERE id = ?", (collection_id,))
        forget_move(connection, collection_id)
        forget_settled(connection, collection_id)
        return remove_files(connection)


def _remove_root(connection: sqlite3.Connection, root: RootRow) -> int:
    with transaction(connection):
        connection.execute("DELETE FROM collection_roots WHERE root_id = ?", (root.id,))
        connection.execute(
            "DELETE FROM collection_files WHERE file_id IN"
            " (SELECT id FROM files WHERE root_id = ?)",
            (root.id,),
        )
        return remove_files(connection)


def _is_known(connection: sqlite3.Connection, root: RootRow, below: str) -> bool:
    row = connection.execute(
        f"SELECT 1 FROM files WHERE root_id = ? AND {_AT_OR_BELOW} LIMIT 1",
        (root.id, below, below, below),
    )
    return row.fetchone() is not None


def _remove_below(connection: sqlite3.Connection, root: RootRow, below: str) -> int:
    pattern = "/" + _escaped(below)
    with transaction(connection):
        for collection in find_collections(connection):
            for each, selection in roots_of(connection, collection.id):
                if each.id == root.id and pattern not in selection.exclude:
                    chosen = replace(selection, exclude=(*selection.exclude, pattern))
                    link_root(connection, collection.id, root.id, chosen)
        connection.execute(
            "DELETE FROM collection_files WHERE file_id IN (SELECT id FROM files"
            f" WHERE root_id = ? AND {_AT_OR_BELOW})",
            (root.id, below, below, below),
        )
        return remove_files(connection)


def _escaped(path: str) -> str:
    """Return a gitignore pattern that matches this path only."""
    return "".join("\\" + c if c in "\\*?[]!# " else c for c in path)


# Without LIKE, whose wildcards are characters of paths.
_AT_OR_BELOW = "(rel_path = ? OR substr(rel_path, 1, length(?) + 1) = ? || '/')"
