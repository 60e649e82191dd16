"""Take over the folders and collections of GPT4All's LocalDocs.

Files that can be read are read anew, by our own rules. Of folders that are away (a drive that is
not plugged in) the app's passages come along, so that they can be searched; they give way when the
folder is back. Vectors never come along: they are of another space.
"""

import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from embedge.models.space import canonical_json, short_hash
from embedge.runtime.cancel import CancelToken
from embedge.runtime.index.connection import now_ms
from embedge.runtime.index.folder_runs import Confirm, Watch, take_in
from embedge.runtime.index.index import Index
from embedge.runtime.index.localdocs_source import (
    LocalDocs,
    SourceChunk,
    SourceCollection,
    SourceDocument,
    SourceFolder,
    open_localdocs,
)
from embedge.runtime.index.reading import text_sha256
from embedge.runtime.index.results import UpdateReport
from embedge.runtime.index.rows import (
    Selection,
    ensure_chunker_json,
    ensure_root,
    free_name,
    link_root,
    make_collection,
)
from embedge.runtime.index.targets import chunker_of, new_target, save_rows
from embedge.runtime.progress import ProgressCallback

if TYPE_CHECKING:
    from embedge.runtime.embedder import Embedder

PEER_CHUNKER = {"kind": "localdocs", "max_chars": 512}
"""How the app cuts: words joined by one space up to 512 characters, no overlap."""

EXTRACTOR = "localdocs/3"

_PEER_SUFFIXES = (".docx", ".md", ".pdf", ".rst", ".txt")
"""What the app reads without being told otherwise."""

_UNKNOWN = -1
_NS_PER_MS = 1_000_000


@dataclass
class LocalDocsTaken:
    """What was taken over, before anything is read or embedded.

    Attributes:
        collections: names, with a number where there was one of that name.
        folders: how many; `away` are those that cannot be listed now.
        documents: of the app, in all folders.
        files: documents whose passages came along, because their folder is away.
        chunks: passages that came along.
    """

    collections: list[str] = field(default_factory=list)
    folders: int = 0
    away: list[str] = field(default_factory=list)
    documents: int = 0
    files: int = 0
    chunks: int = 0


@dataclass(frozen=True, kw_only=True)
class LocalDocsImport:
    """What was taken over, and the run that read and embedded the rest."""

    taken: LocalDocsTaken
    update: UpdateReport


def import_localdocs(
    index: Index,
    file: Path,
    *,
    confirm: Confirm | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> LocalDocsImport:
    """Bring in every collection of `localdocs_v3.db`, and index it; the file is only read.

    Args:
        index: open for writing; made if there is none.
        file: the app's database; the app may run.
        confirm: asked with a plan when much would be embedded, as in `Index.add`.
        progress: as in `Index.add`.
        cancel: as in `Index.add`.

    Raises:
        InvalidOption: the file is no LocalDocs database, or consent is missing.
        IndexLocked: another process writes.
        ModelNotFound: the model is not on this machine.
        Cancelled: the token was used, or the plan was declined.
    """
    watch = Watch(confirm=confirm, progress=progress, cancel=cancel or CancelToken())
    with open_localdocs(file) as source, index.writing(create=True) as connection:
        work = _Import(connection, index.models.for_new_set(), source)
        report = take_in(connection, index.models, work.run, kind="import", watch=watch)
    return LocalDocsImport(taken=work.taken, update=report)


class _Import:
    def __init__(
        self, connection: sqlite3.Connection, embedder: "Embedder", source: LocalDocs
    ) -> None:
        self._connection = connection
        self._embedder = embedder
        self._source = source
        self.taken = LocalDocsTaken()
        self._roots: dict[int, tuple[int, list[int]]] = {}  # folder: root and its taken files

    def run(self) -> list[str]:
        wanted = self._source.collections()
        target = save_rows(
            self._connection, new_target(self._connection, self._embedder), self._embedder
        )
        names = {row[0] for row in self._connection.execute("SELECT name FROM collections")}
        chunker = chunker_of(self._connection, target)
        for each in wanted:
            name = free_name(each.name.strip() or "LocalDocs", names)
            names.add(name)
            collection = make_collection(self._connection, name, target.space, chunker)
            self.taken.collections.append(name)
            self._link(collection.id, each)
        return self.taken.collections

    def _link(self, collection_id: int, collection: SourceCollection) -> None:
        for folder in collection.folders:
            root_id, files = self._root(folder)
            link_root(self._connection, collection_id, root_id, _selection(folder))
            self._connection.executemany(
                "INSERT INTO collection_files VALUES(?, ?) ON CONFLICT DO NOTHING",
                [(collection_id, file_id) for file_id in files],
            )

    def _root(self, folder: SourceFolder) -> tuple[int, list[int]]:
        """Return the root of a folder and the files taken over under it."""
        if folder.id in self._roots:
            return self._roots[folder.id]
        root = ensure_root(self._connection, os.path.normpath(folder.path))
        self.taken.folders += 1
        self.taken.documents += len(folder.documents)
        files: list[int] = []
        if not _can_be_listed(folder.path):
            self._connection.execute("UPDATE roots SET state = 'offline' WHERE id = ?", (root.id,))
            self.taken.away.append(folder.path)
            spec = canonical_json(PEER_CHUNKER)
            chunker = ensure_chunker_json(self._connection, f"ck-{short_hash(spec)}", spec)
            for document, chunks in self._source.chunks(folder):
                file_id = self._file(root.id, chunker.id, document, chunks)
                files += [] if file_id is None else [file_id]
        self._roots[folder.id] = (root.id, files)
        return root.id, files

    def _file(
        self,
        root_id: int,
        chunker_id: int,
        document: SourceDocument,
        chunks: Sequence[SourceChunk],
    ) -> int | None:
        """Write a file with the app's passages; None if the index knows it already."""
        if not chunks:
            return None
        first = chunks[0]
        cursor = self._connection.execute(
            "INSERT INTO files(root_id, rel_path, mtime_ns, extractor, title, author, subject,"
            " keywords, state, scanned_ms) VALUES(?, ?, ?, ?, ?, ?, ?, ?, 'read', ?)"
            " ON CONFLICT DO NOTHING",
            (
                root_id, document.below, document.time_ms * _NS_PER_MS, EXTRACTOR, first.title,
                first.author, first.subject, first.keywords, now_ms(),
            ),
        )  # fmt: skip
        if not cursor.rowcount:
            return None
        file_id = cursor.lastrowid
        assert file_id is not None
        # The hash of the file is not known: an empty one never equals that of a file.
        self._connection.execute(
            "INSERT INTO chunkings VALUES(?, ?, x'', ?, ?)",
            (file_id, chunker_id, EXTRACTOR, len(chunks)),
        )
        count = self._embedder.loaded.tokens.count
        self._connection.executemany(
            "INSERT INTO chunks(file_id, chunker_id, seq, text, text_sha256, char_start,"
            " char_end, page, n_words, n_tokens) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    file_id, chunker_id, seq, chunk.text, text_sha256(chunk.text), _UNKNOWN,
                    _UNKNOWN, chunk.page, len(chunk.text.split()), count(chunk.text),
                )
                for seq, chunk in enumerate(chunks)
            ],
        )  # fmt: skip
        self.taken.files += 1
        self.taken.chunks += len(chunks)
        return file_id


def _selection(folder: SourceFolder) -> Selection:
    """Take the kinds of file that the app takes: the user has chosen the folder for them."""
    found = {PurePosixPath(each.below).suffix.lower() for each in folder.documents}
    suffixes = sorted({*_PEER_SUFFIXES, *found} - {""})
    return Selection(include=tuple(f"*{suffix}" for suffix in suffixes), gitignore=False)


def _can_be_listed(folder: str) -> bool:
    try:
        with os.scandir(Path(folder)):
            return True
    except OSError:
        return False
