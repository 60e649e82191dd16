"""One index as one file to carry away, and the reverse: taking in what another one holds."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from embedge.models.durable import PRIVATE, new_file
from embedge.models.errors import IndexDamaged, InvalidOption
from embedge.runtime.index.connection import (
    connect_reader,
    damage_named,
    transaction,
)
from embedge.runtime.index.rows import free_name

_CHUNKING = "file_sha256, extractor, n_chunks"
_CHUNK = (
    "seq, text, text_sha256, overlap_chars, char_start, char_end, line_start, line_end, page,"
    " heading, n_words, n_tokens"
)
_FILE = (
    "size, mtime_ns, ctime_ns, inode, sha256, media_type, encoding, extractor, title, author,"
    " subject, keywords, state, reason, message, missing_since_ms, scanned_ms"
)


@dataclass(frozen=True, kw_only=True)
class TakenIn:
    """What an import brought; `collections` are the names they have here."""

    collections: tuple[str, ...]
    files: int
    chunks: int
    vectors: int


def export_copy(database: Path, target: Path) -> int:
    """Write a compact copy of an index to a new file with mode 0600; return its size in bytes.

    Raises:
        FileNotFoundError: there is no index.
        IndexDamaged: it cannot be read.
        InvalidOption: the file is there already.
    """
    if target.exists():
        raise InvalidOption(f"{target} is there already; name a new file")
    with (
        closing(connect_reader(database)) as connection,
        new_file(target, mode=PRIVATE, many_writers=False) as partial,
        damage_named(database),
    ):
        connection.execute("VACUUM INTO ?", (str(partial),))
    return target.stat().st_size


def import_copy(connection: sqlite3.Connection, source: Path) -> TakenIn:
    """Merge the collections of a copy; vectors are shared by space and text.

    A collection whose name is taken gets a number. A file that is known here under the same path
    stays as it is here.

    Args:
        connection: a writer's.
        source: another index; it is only read.

    Raises:
        IndexDamaged: the source is no sound index.
        InvalidOption: there is no such file.
    """
    _check(source)
    with _attached(connection, source), transaction(connection):
        return _Merge(connection).run()


def _check(source: Path) -> None:
    try:
        reader = connect_reader(source)
    except FileNotFoundError:
        raise InvalidOption(f"there is no file {source} to import") from None
    try:
        lines = [line for (line,) in reader.execute("PRAGMA integrity_check")]
    except sqlite3.DatabaseError as error:
        raise IndexDamaged(f"{source} is damaged ({error}); export it again") from error
    finally:
        reader.close()
    if lines != ["ok"]:
        raise IndexDamaged(f"{source} is damaged ({lines[0]}); export it again")


@contextmanager
def _attached(connection: sqlite3.Connection, source: Path) -> Iterator[None]:
    connection.execute("ATTACH ? AS src", (f"file:{quote(str(source.absolute()))}?mode=ro",))
    try:
        yield
    finally:
        connection.execute("DETACH src")


class _Merge:
    """Copies rows; maps ids of the source to ids here."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._files: dict[int, int] = {}
        self._n_files = self._n_chunks = 0

    def run(self) -> TakenIn:
        spaces = self._by_key(
            "spaces", "fingerprint",
            "identity_json, model, revision, variant, dim, coarse_dim, created_ms",
        )  # fmt: skip
        chunkers = self._by_key("chunkers", "fingerprint", "spec_json")
        n_vectors = sum(self._vectors(*pair) for pair in spaces.items())
        roots = self._roots()
        self._copy_files(roots, chunkers)
        names = self._collections(spaces, chunkers, roots)
        self._connection.execute(
            "INSERT INTO meta SELECT key, value FROM src.meta WHERE key LIKE 'bundle:%'"
            " ON CONFLICT DO NOTHING"
        )
        return TakenIn(
            collections=tuple(names), files=self._n_files, chunks=self._n_chunks, vectors=n_vectors
        )

    def _by_key(self, table: str, key: str, columns: str) -> dict[int, int]:
        """Copy rows that are not there yet; return id in the source: id here."""
        self._connection.execute(
            f"INSERT INTO {table}({key}, {columns}) SELECT {key}, {columns} FROM src.{table}"
            " WHERE true ON CONFLICT DO NOTHING"
        )
        rows = self._connection.execute(
            f"SELECT s.id, t.id FROM src.{table} s JOIN {table} t ON t.{key} = s.{key}"
        )
        return dict(rows.fetchall())

    def _vectors(self, there: int, here: int) -> int:
        columns = "text_sha256, coarse, coarse_scale, fine, n_tokens"
        return self._connection.execute(
            f"INSERT INTO vectors(space_id, {columns}) SELECT ?, {columns} FROM src.vectors"
            " WHERE space_id = ? ORDER BY id ON CONFLICT DO NOTHING",
            (here, there),
        ).rowcount

    def _roots(self) -> dict[int, int]:
        known = {path for (path,) in self._connection.execute("SELECT path FROM main.roots")}
        for (path,) in self._connection.execute("SELECT path FROM src.roots").fetchall():
            if path not in known:
                state = "online" if os.path.isdir(path) else "offline"
                self._connection.execute(
                    "INSERT INTO main.roots(path, state) VALUES(?, ?)", (path, state)
                )
        rows = self._connection.execute(
            "SELECT s.id, t.id FROM src.roots s JOIN main.roots t ON t.path = s.path"
        )
        return dict(rows.fetchall())

    def _copy_files(self, roots: dict[int, int], chunkers: dict[int, int]) -> None:
        rows = self._connection.execute("SELECT id, root_id, rel_path FROM src.files").fetchall()
        for there, root, path in rows:
            place = (roots[root], path)
            known = self._connection.execute(
                "SELECT id FROM main.files WHERE root_id = ? AND rel_path = ?", place
            ).fetchone()
            if known is not None:
                self._files[there] = known[0]
                continue
            here = self._connection.execute(
                f"INSERT INTO main.files(root_id, rel_path, {_FILE})"
                f" SELECT ?, ?, {_FILE} FROM src.files WHERE id = ?",
                (*place, there),
            ).lastrowid
            assert here is not None
            self._files[there] = here
            self._n_files += 1
            self._copy_chunks(there, here, chunkers)

    def _copy_chunks(self, there: int, here: int, chunkers: dict[int, int]) -> None:
        rows = self._connection.execute(
            "SELECT chunker_id FROM src.chunkings WHERE file_id = ?", (there,)
        ).fetchall()
        for (chunker,) in rows:
            self._connection.execute(
                f"INSERT INTO main.chunkings SELECT ?, ?, {_CHUNKING} FROM src.chunkings"
                " WHERE file_id = ? AND chunker_id = ?",
                (here, chunkers[chunker], there, chunker),
            )
            self._n_chunks += self._connection.execute(
                f"INSERT INTO main.chunks(file_id, chunker_id, {_CHUNK}) SELECT ?, ?, {_CHUNK}"
                " FROM src.chunks WHERE file_id = ? AND chunker_id = ? ORDER BY seq",
                (here, chunkers[chunker], there, chunker),
            ).rowcount

    def _collections(
        self, spaces: dict[int, int], chunkers: dict[int, int], roots: dict[int, int]
    ) -> Sequence[str]:
        taken = {name for (name,) in self._connection.execute("SELECT name FROM main.collections")}
        names = []
        rows = self._connection.execute(
            "SELECT id, name, space_id, chunker_id, last_update_ms FROM src.collections"
        ).fetchall()
        for there, name, space, chunker, updated in rows:
            free = free_name(name, taken)
            taken.add(free)
            names.append(free)
            here = self._connection.execute(
                "INSERT INTO main.collections(name, space_id, chunker_id, last_update_ms)"
                " VALUES(?, ?, ?, ?)",
                (free, spaces[space], chunkers[chunker], updated),
            ).lastrowid
            assert here is not None
            self._link(there, here, roots)
        return names

    def _link(self, there: int, here: int, roots: dict[int, int]) -> None:
        links = self._connection.execute(
            "SELECT root_id, include_json, exclude_json FROM src.collection_roots"
            " WHERE collection_id = ?",
            (there,),
        ).fetchall()
        self._connection.executemany(
            "INSERT INTO main.collection_roots VALUES(?, ?, ?, ?)",
            [(here, roots[root], *patterns) for root, *patterns in links],
        )
        members = self._connection.execute(
            "SELECT file_id FROM src.collection_files WHERE collection_id = ?", (there,)
        ).fetchall()
        self._connection.executemany(
            "INSERT INTO main.collection_files VALUES(?, ?) ON CONFLICT DO NOTHING",
            [(here, self._files[file_id]) for (file_id,) in members],
        )
