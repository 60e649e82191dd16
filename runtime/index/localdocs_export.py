"""Write a collection of folders the way GPT4All's LocalDocs keeps them."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from embedge.models.durable import PRIVATE, new_file
from embedge.models.errors import InvalidOption
from embedge.runtime.index.index import Index
from embedge.runtime.index.live import CHUNKER_OF_FILE
from embedge.runtime.index.reading import shown_path
from embedge.runtime.index.rows import find_collections, roots_of
from embedge.runtime.index.vectors import read_fine

FILE_NAME = "localdocs_v3.db"
PEER_MODEL = "nomic-embed-text-v1.5"
"""The model that every build of the app embeds with."""

VECTORS = ("none", "ours")

_UNKNOWN = -1
_NS_PER_MS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class LocalDocsExport:
    """What was written; `left_out` are files that lie under two folders of the index."""

    path: str
    collections: int
    folders: int
    documents: int
    chunks: int
    vectors: int
    left_out: int


def export_localdocs(index: Index, folder: Path, *, vectors: str = "none") -> LocalDocsExport:
    """Write `localdocs_v3.db`.

    The app finds chunks without vectors and embeds them itself. It searches vectors only under
    the name of its own model, so `ours` serves builds of the app that were changed to ask for
    this model.

    Args:
        index: only read.
        folder: where the file goes; made if it is missing.
        vectors: `ours` adds the index's vectors under the name of its model.

    Raises:
        InvalidOption: the file is there already, or `vectors` is neither of the two.
        OSError: it cannot be written.
    """
    if vectors not in VECTORS:
        raise InvalidOption(f"--vectors {vectors!r} is neither none nor ours")
    target = folder / FILE_NAME
    if target.exists():
        raise InvalidOption(
            f"{target} is there already and is not overwritten; move it away, with the app closed"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with new_file(target, mode=PRIVATE, many_writers=False) as partial:
        with index.reading() as connection, closing(_create(partial)) as peer:
            with _full_disk_named(target):
                written = _Writer(connection, peer, with_vectors=vectors == "ours").write(target)
                peer.commit()
    return written


def create_tables(peer: sqlite3.Connection) -> None:
    """Lay down the app's tables in an empty database."""
    peer.execute("PRAGMA auto_vacuum = FULL")
    peer.executescript((files("embedge.runtime.index") / "localdocs.sql").read_text("utf-8"))


def _create(path: Path) -> sqlite3.Connection:
    peer = sqlite3.connect(path)
    create_tables(peer)
    return peer


@contextmanager
def _full_disk_named(target: Path) -> Iterator[None]:
    """Blame the new file, not the index, when there is no room for it."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OSError(None, f"SQLite: {error}", str(target)) from error


class _Writer:
    def __init__(
        self, connection: sqlite3.Connection, peer: sqlite3.Connection, *, with_vectors: bool
    ) -> None:
        self._index = connection
        self._peer = peer
        self._with_vectors = with_vectors
        self._folders: dict[int, int] = {}  # root -> folder
        self._documents = self._chunks = self._vectors = self._left_out = 0

    def write(self, target: Path) -> LocalDocsExport:
        collections = find_collections(self._index)
        for collection in collections:
            model = collection.space.model if self._with_vectors else PEER_MODEL
            cursor = self._peer.execute(
                "INSERT INTO collections(name, start_update_time, last_update_time,"
                " embedding_model) VALUES(?, ?, ?, ?)",
                (collection.name, collection.start_update_ms, collection.last_update_ms, model),
            )
            for root, _ in roots_of(self._index, collection.id):
                folder = self._folder(root.id, root.path)
                self._peer.execute(
                    "INSERT INTO collection_items VALUES(?, ?)", (cursor.lastrowid, folder)
                )
        self._peer.execute("INSERT INTO chunks_fts(chunks_fts) VALUES('rebuild')")
        return LocalDocsExport(
            path=str(target),
            collections=len(collections),
            folders=len(self._folders),
            documents=self._documents,
            chunks=self._chunks,
            vectors=self._vectors,
            left_out=self._left_out,
        )

    def _folder(self, root_id: int, path: str) -> int:
        """Write a folder with its documents, once however many collections have it."""
        if root_id in self._folders:
            return self._folders[root_id]
        shown = path.replace(os.sep, "/")
        folder = self._peer.execute("INSERT INTO folders(path) VALUES(?)", (shown,)).lastrowid
        assert folder is not None
        self._folders[root_id] = folder
        for file_id, rel_path, mtime_ns, space_id, chunker_id in self._files(root_id):
            cursor = self._peer.execute(
                "INSERT INTO documents(folder_id, document_time, document_path) VALUES(?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (folder, (mtime_ns or 0) // _NS_PER_MS, shown_path(path, rel_path)),
            )
            if not cursor.rowcount:
                self._left_out += 1
                continue
            self._documents += 1
            document = cursor.lastrowid
            assert document is not None
            self._write_chunks(document, folder, file_id, space_id, chunker_id)
        return folder

    def _files(self, root_id: int) -> list[tuple[int, str, int | None, int, int]]:
        """Return the searchable files of a root, each by the first collection that has it."""
        rows = self._index.execute(
            "SELECT f.id, f.rel_path, f.mtime_ns, co.space_id, co.chunker_id, min(co.id)"
            " FROM files f JOIN collection_files cf ON cf.file_id = f.id"
            " JOIN collections co ON co.id = cf.collection_id"
            " WHERE f.root_id = ? AND f.state <> 'missing'"
            " AND EXISTS (SELECT 1 FROM chunkings k WHERE k.file_id = f.id)"
            " GROUP BY f.id ORDER BY f.rel_path",
            (root_id,),
        )
        return [row[:5] for row in rows.fetchall()]

    def _write_chunks(
        self, document: int, folder: int, file_id: int, space_id: int, chunker_id: int
    ) -> None:
        for *fields, page, words, vector, model in self._rows(file_id, space_id, chunker_id):
            cursor = self._peer.execute(
                "INSERT INTO chunks(document_id, chunk_text, file, title, author, subject,"
                " keywords, page, line_from, line_to, words, tokens)"
                " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
                (document, *fields, page or _UNKNOWN, _UNKNOWN, _UNKNOWN, words),
            )
            self._chunks += 1
            if self._with_vectors and isinstance(vector, bytes):
                self._peer.execute(
                    "INSERT INTO embeddings VALUES(?, ?, ?, ?)",
                    (model, folder, cursor.lastrowid, read_fine(vector).tobytes()),
                )
                self._vectors += 1

    def _rows(self, file_id: int, space_id: int, chunker_id: int) -> Iterator[tuple[object, ...]]:
        """Yield text, base name, properties, page, words, vector and model of each chunk."""
        rows = self._index.execute(
            "SELECT c.text, f.rel_path, f.title, f.author, f.subject, f.keywords, c.page,"
            " c.n_words, v.fine, s.model FROM files f"
            " JOIN chunks c ON c.file_id = f.id AND c.chunker_id = "
            + CHUNKER_OF_FILE.format(chunker=":chunker")
            + " LEFT JOIN vectors v ON v.space_id = :space AND v.text_sha256 = c.text_sha256"
            " LEFT JOIN spaces s ON s.id = v.space_id WHERE f.id = :file ORDER BY c.seq",
            {"file": file_id, "space": space_id, "chunker": chunker_id},
        )
        for text, rel_path, *rest in rows:
            yield text, rel_path.rpartition("/")[2], *rest
