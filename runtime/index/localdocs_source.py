"""Read GPT4All's `localdocs_v3.db`; never written, also while the app runs."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

from embedge.models.errors import InvalidOption

_COLUMNS = {
    "collections": {"id", "name"},
    "folders": {"id", "path"},
    "collection_items": {"collection_id", "folder_id"},
    "documents": {"id", "folder_id", "document_time", "document_path"},
    "chunks": {
        "id", "document_id", "chunk_text", "title", "author", "subject", "keywords", "page",
        "words",
    },
}  # fmt: skip
_BUSY_MS = 5_000


@dataclass(frozen=True)
class SourceChunk:
    """One passage of the app: its text, properties of its document, page from 1 or None."""

    text: str
    title: str | None
    author: str | None
    subject: str | None
    keywords: str | None
    page: int | None


@dataclass(frozen=True)
class SourceDocument:
    """One file: `below` is its path under its folder, `time_ms` its time of change."""

    id: int
    below: str
    path: str
    time_ms: int


@dataclass(frozen=True)
class SourceFolder:
    """One folder with the documents of the app under it."""

    id: int
    path: str
    documents: tuple[SourceDocument, ...]


@dataclass(frozen=True)
class SourceCollection:
    """A name and its folders."""

    name: str
    folders: tuple[SourceFolder, ...]


class LocalDocs:
    """An open database of the app."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def collections(self) -> list[SourceCollection]:
        """Return every collection; a folder in several of them is one object.

        Raises:
            InvalidOption: the database is damaged.
        """
        with _named(self._path):
            return self._collections()

    def _collections(self) -> list[SourceCollection]:
        folders = {each.id: each for each in self._folders()}
        rows = self._connection.execute(
            "SELECT c.name, i.folder_id FROM collections c"
            " LEFT JOIN collection_items i ON i.collection_id = c.id ORDER BY c.id, i.folder_id"
        )
        found: dict[str, list[SourceFolder]] = {}
        for name, folder in rows:
            found.setdefault(str(name), [])
            if folder in folders:
                found[str(name)].append(folders[folder])
        return [SourceCollection(name, tuple(each)) for name, each in found.items()]

    def chunks(self, folder: SourceFolder) -> Iterator[tuple[SourceDocument, list[SourceChunk]]]:
        """Yield the documents of a folder that have passages, in the order of their ids.

        Raises:
            InvalidOption: the database is damaged.
        """
        with _named(self._path):
            yield from self._chunks(folder)

    def _chunks(self, folder: SourceFolder) -> Iterator[tuple[SourceDocument, list[SourceChunk]]]:
        documents = {each.id: each for each in folder.documents}
        rows = self._connection.execute(
            "SELECT c.document_id, c.chunk_text, c.title, c.author, c.subject, c.keywords, c.page"
            " FROM chunks c JOIN documents d ON d.id = c.document_id WHERE d.folder_id = ?"
            " ORDER BY c.document_id, c.id",
            (folder.id,),
        )
        for document, group in groupby(rows, key=lambda row: row[0]):
            if document in documents:
                yield (
                    documents[document],
                    [_chunk(*row[1:]) for row in group if str(row[1]).strip()],
                )

    def _folders(self) -> Iterator[SourceFolder]:
        rows = self._connection.execute(
            "SELECT folder_id, id, document_path, document_time FROM documents"
            " ORDER BY folder_id, document_path"
        )
        documents = {
            folder: [row[1:] for row in group]
            for folder, group in groupby(rows, key=lambda row: row[0])
        }
        for folder, path in self._connection.execute("SELECT id, path FROM folders ORDER BY id"):
            top = str(path).rstrip("/\\") or "/"
            below = top.rstrip("/") + "/"
            yield SourceFolder(
                folder,
                top,
                tuple(
                    SourceDocument(number, str(name)[len(below) :], str(name), int(time or 0))
                    for number, name, time in documents.get(folder, [])
                    if str(name).startswith(below)
                ),
            )


@contextmanager
def open_localdocs(path: Path) -> Iterator[LocalDocs]:
    """Open the database for reading and check that it is one.

    Raises:
        InvalidOption: it is missing, no database, or lacks a table or column that LocalDocs has.
    """
    if not path.is_file():
        raise InvalidOption(
            f"--localdocs {path}: there is no such file; it is called localdocs_v3.db and lies in "
            "GPT4All's model folder"
        )
    connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)
    try:
        with _named(path):
            connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
            connection.execute("PRAGMA query_only=ON")
            problems = list(_problems(connection))
        if problems:
            raise InvalidOption(
                f"--localdocs {path} is not version 3 of LocalDocs: {'; '.join(problems)}. Start "
                "the newest GPT4All once, which converts older versions"
            )
        connection.execute("BEGIN")  # one state, whatever the app writes meanwhile
        yield LocalDocs(connection, path)
    finally:
        connection.close()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn SQLite's word for what is wrong with the app's file into ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise InvalidOption(
            f"--localdocs {path} cannot be read ({error}); close GPT4All, and check that this is "
            "its localdocs_v3.db"
        ) from error


def _problems(connection: sqlite3.Connection) -> Iterator[str]:
    for table, needed in _COLUMNS.items():
        found = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        if not found:
            yield f"it has no table {table}"
        elif missing := sorted(needed - found):
            yield f"table {table} lacks {', '.join(missing)}"


def _chunk(text: str, *fields: object) -> SourceChunk:
    title, author, subject, keywords = (str(each) if each else None for each in fields[:4])
    page = fields[4]
    return SourceChunk(
        str(text),
        title,
        author,
        subject,
        keywords,
        page if isinstance(page, int) and page > 0 else None,
    )
