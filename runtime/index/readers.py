"""Which extractors this installation has: after an upgrade, files are read again where that helps.

A file that was skipped or failed is tried again, for its format may be readable now. Of files
that were read, one per extractor is read again; where a newer extractor reads it, all of its files
are pending, and only chunks that changed are embedded.
"""

import sqlite3
from collections.abc import Sequence
from importlib.util import find_spec

from embedge.models.errors import EmbedgeError
from embedge.runtime.index.connection import transaction
from embedge.runtime.index.meta import read_meta, write_meta
from embedge.runtime.index.reading import FileToRead, extract_content, read_content
from embedge.runtime.index.rows import Selection

_OPTIONAL = ("pypdfium2", "charset_normalizer")
_KEY = "readers"


def readers_here() -> str:
    """Return what decides how files are read: our version and the optional packages."""
    from embedge import __version__

    return " ".join([__version__, *(name for name in _OPTIONAL if find_spec(name) is not None)])


def try_again_after_upgrade(connection: sqlite3.Connection) -> int:
    """Mark files pending that another installation would have read otherwise.

    Returns:
        How many.
    """
    here = readers_here()
    before = read_meta(connection, _KEY)
    if before == here:
        return 0
    outdated = [] if before is None else _outdated_extractors(connection)
    with transaction(connection):
        count = 0
        if before is not None:
            count = connection.execute(
                "UPDATE files SET state = 'pending' WHERE state IN ('skipped', 'error')"
                " AND reason NOT IN ('too_large', 'path_encoding', 'empty')"
            ).rowcount
        for extractor in outdated:
            count += connection.execute(
                "UPDATE files SET state = 'pending' WHERE state = 'read' AND extractor = ?",
                (extractor,),
            ).rowcount
        write_meta(connection, _KEY, here)
    return count


def _outdated_extractors(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute(
        "SELECT f.extractor, r.path, min(f.rel_path) FROM files f JOIN roots r ON r.id = f.root_id"
        " WHERE f.state = 'read' AND r.state = 'online' GROUP BY f.extractor, r.path"
    ).fetchall()
    samples: dict[str, list[tuple[str, str]]] = {}
    for extractor, root, rel_path in rows:
        samples.setdefault(extractor, []).append((root, rel_path))
    return [name for name, places in samples.items() if _is_outdated(name, places)]


def _is_outdated(extractor: str, places: Sequence[tuple[str, str]]) -> bool:
    for root, rel_path in places:
        file = FileToRead.below(root, rel_path, Selection())
        try:
            return extract_content(file, read_content(file)).extractor != extractor
        except EmbedgeError:  # changed or gone since; another file may tell
            continue
    return False
