"""Read one file, cut it, and write its chunks in one transaction."""

import hashlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from embedge.models.errors import InputError, MissingExtra
from embedge.runtime.chunking import Chunk, ChunkerSpec, TokenCounter, chunk_text
from embedge.runtime.extract import Document, extract
from embedge.runtime.index.connection import transaction
from embedge.runtime.index.rows import Selection
from embedge.runtime.index.scan import state_of
from embedge.runtime.index.tree import Stat
from embedge.runtime.read_errors import read_error, too_large
from embedge.runtime.walk import MAX_FILE_SIZE

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class FileToRead:
    """A file whose chunks are missing or old; `shown` is its path in messages."""

    id: int
    location: Path
    shown: str
    encoding: str | None = None
    max_file_size: int = MAX_FILE_SIZE

    @classmethod
    def below(cls, root: str, rel_path: str, taken: Selection, file_id: int = -1) -> "FileToRead":
        """Name a file of a root, to be read as a collection has chosen; -1: it has no row yet."""
        return cls(
            file_id,
            Path(root, rel_path),
            shown_path(root, rel_path),
            taken.encoding,
            taken.max_file_size or MAX_FILE_SIZE,
        )


@dataclass(frozen=True)
class FileContent:
    """The bytes of a file, read while it did not change."""

    sha256: bytes
    stat: Stat
    data: bytes


@dataclass(frozen=True)
class CutFile:
    """A file ready to be written."""

    sha256: bytes
    stat: Stat
    document: Document
    chunks: list[Chunk]


@dataclass(frozen=True)
class Cutter:
    """Cuts documents by one spec, with the tokenizer that the spec names."""

    tokens: TokenCounter
    spec: ChunkerSpec

    def cut(self, document: Document) -> list[Chunk]:
        """Return the passages of a document."""
        return chunk_text(
            document.text,
            self.tokens,
            max_tokens=self.spec.max_tokens,
            overlap=self.spec.overlap,
            kind=document.kind,
            pages=document.pages,
            headings=document.headings,
        )


def files_to_read(
    connection: sqlite3.Connection, collection_id: int, chunker_id: int | None
) -> Iterator[FileToRead]:
    """Yield the files of a collection whose chunks under a chunker are missing or old."""
    rows = connection.execute(
        "SELECT f.id, r.path, f.rel_path, cr.include_json FROM collection_files cf"
        " JOIN files f ON f.id = cf.file_id JOIN roots r ON r.id = f.root_id"
        " LEFT JOIN collection_roots cr ON cr.collection_id = cf.collection_id"
        "   AND cr.root_id = f.root_id"
        " WHERE cf.collection_id = ? AND r.state = 'online' AND (f.state = 'pending' OR"
        " (f.state = 'read' AND NOT EXISTS (SELECT 1 FROM chunkings k WHERE k.file_id = f.id"
        "   AND k.chunker_id = ? AND k.file_sha256 = f.sha256)))"
        " ORDER BY r.path, f.rel_path",
        (collection_id, chunker_id),
    ).fetchall()
    for file_id, root, rel_path, include_json in rows:
        taken = Selection.from_json(include_json, None)
        yield FileToRead.below(root, rel_path, taken, file_id)


def shown_path(root: str, rel_path: str) -> str:
    """Return the path of a file as people see it: absolute, `/` separated."""
    return root.replace(os.sep, "/").rstrip("/") + "/" + rel_path


def read_content(file: FileToRead) -> FileContent:
    """Read a file whole; the hash belongs to exactly the bytes that are extracted.

    Raises:
        InputError: it cannot be read, is too large, or changed meanwhile.
    """
    limit = file.max_file_size
    parts, size = [], 0
    try:
        with file.location.open("rb", buffering=0) as stream:
            before = os.fstat(stream.fileno())
            while block := stream.read(_BLOCK_BYTES):
                parts.append(block)
                size += len(block)
                if size > limit:
                    raise too_large(file.shown, max(size, before.st_size), limit)
            after = os.fstat(stream.fileno())
    except OSError as error:
        raise read_error(file.shown, error, was_listed=True) from error
    if not stat.S_ISREG(before.st_mode):
        raise InputError(f"{file.shown} is no regular file any more", "vanished")
    times = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
    if times or size != after.st_size:
        raise InputError(
            f"{file.shown} changed while it was read; the next update reads it again",
            "changed_while_reading",
        )
    data = b"".join(parts)
    return FileContent(hashlib.sha256(data).digest(), Stat.of(after), data)


def extract_content(file: FileToRead, content: FileContent) -> Document:
    """Return the text of a file that was read.

    Raises:
        InputError: with one of the codes of file records; `missing_extra` where the format needs
            packages that are not installed.
    """
    try:
        return extract(
            content.data,
            path=file.shown,
            encoding=file.encoding,
            max_file_size=file.max_file_size,
        )
    except MissingExtra as error:
        raise InputError(f"{file.shown}: {error}", "missing_extra") from error


def cut_file(file: FileToRead, cutter: Cutter) -> CutFile:
    """Read, extract and cut.

    Raises:
        InputError: as `read_content` and `extract_content`.
    """
    content = read_content(file)
    document = extract_content(file, content)
    return CutFile(content.sha256, content.stat, document, cutter.cut(document))


def write_cut_file(
    connection: sqlite3.Connection, file_id: int, chunker_id: int, cut: CutFile
) -> None:
    """Replace what a file says under a chunker; one transaction."""
    document = cut.document
    stat = cut.stat
    with transaction(connection):
        connection.execute(
            "UPDATE files SET size = ?, mtime_ns = ?, ctime_ns = ?, inode = ?, sha256 = ?,"
            " media_type = ?, encoding = ?, extractor = ?, title = ?, author = ?, subject = ?,"
            " keywords = ?, state = 'read', reason = NULL, message = NULL WHERE id = ?",
            (
                stat.size, stat.mtime_ns, stat.ctime_ns, stat.inode, cut.sha256,
                document.media_type, document.encoding, document.extractor, document.title,
                document.author, document.subject, document.keywords, file_id,
            ),
        )  # fmt: skip
        # Another chunker's set of the same content by an older extractor is cut again, too.
        connection.execute(
            "DELETE FROM chunkings WHERE file_id = ? AND (chunker_id = ? OR"
            " (file_sha256 = ? AND extractor <> ?))",
            (file_id, chunker_id, cut.sha256, document.extractor),
        )
        write_chunks(connection, file_id, chunker_id, cut)


def write_chunks(
    connection: sqlite3.Connection, file_id: int, chunker_id: int, cut: CutFile
) -> None:
    """Insert a chunking and its chunks; within a transaction."""
    connection.execute(
        "INSERT INTO chunkings VALUES(?, ?, ?, ?, ?)",
        (file_id, chunker_id, cut.sha256, cut.document.extractor, len(cut.chunks)),
    )
    connection.executemany(
        "INSERT INTO chunks(file_id, chunker_id, seq, text, text_sha256, overlap_chars,"
        " char_start, char_end, line_start, line_end, page, heading, n_words, n_tokens)"
        " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                file_id, chunker_id, seq, chunk.text, text_sha256(chunk.text),
                chunk.overlap_chars, chunk.char_start, chunk.char_end, chunk.line_start,
                chunk.line_end, chunk.page, chunk.heading, len(chunk.text.split()),
                chunk.n_tokens,
            )
            for seq, chunk in enumerate(cut.chunks)
        ],
    )  # fmt: skip


def write_failure(
    connection: sqlite3.Connection, file: FileToRead, error: InputError, content: FileContent | None
) -> None:
    """Note why a file could not be read; what it said before stays searchable if it is an error.

    A file that went away keeps its state: the next scan sees that it is missing.
    """
    if error.code == "vanished":
        return
    state = state_of(error)
    with transaction(connection):
        connection.execute(
            "UPDATE files SET state = ?, reason = ?, message = ?, sha256 = ? WHERE id = ?",
            (state, error.code, str(error), content.sha256 if content else None, file.id),
        )
        if content is not None:
            stat = content.stat
            connection.execute(
                "UPDATE files SET size = ?, mtime_ns = ?, ctime_ns = ?, inode = ? WHERE id = ?",
                (stat.size, stat.mtime_ns, stat.ctime_ns, stat.inode, file.id),
            )
        if state == "skipped":
            connection.execute("DELETE FROM chunkings WHERE file_id = ?", (file.id,))


def text_sha256(text: str) -> bytes:
    """Return the key of a text: SHA-256 of its UTF-8."""
    return hashlib.sha256(text.encode("utf-8")).digest()
