"""Read one file within limits and hand it to its format."""

import os
import stat
import sys
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from embedge.models.errors import InputError
from embedge.runtime.extract.document import Document
from embedge.runtime.extract.registry import Source, find_format, suffix_of
from embedge.runtime.read_errors import read_error, too_large
from embedge.runtime.walk import MAX_FILE_SIZE, STDIN, FoundFile

_BLOCK_BYTES = 1 << 20


def extract(
    source: Path | bytes,
    *,
    path: str | None = None,
    encoding: str | None = None,
    max_file_size: int = MAX_FILE_SIZE,
    was_listed: bool = False,
) -> Document:
    """Return the text of a file or of bytes.

    Args:
        source: a file, or its content.
        path: as records spell it; its suffix decides the format. Default: the file's own path,
            `-` for bytes.
        encoding: of the file; found when None.
        max_file_size: bytes.
        was_listed: a walk has seen the file, so its absence is `vanished`, not `not_found`.

    Raises:
        InputError: with one of the codes of file records.
        InvalidOption: `encoding` names none.
    """
    if isinstance(source, bytes):
        shown, data = path or STDIN, source
        if len(data) > max_file_size:
            raise too_large(shown, len(data), max_file_size)
    else:
        shown = path or str(source)
        data = _read(source, shown, max_file_size, was_listed=was_listed)
    return _to_document(Source(data, shown, suffix_of(shown), encoding))


def extract_found(
    found: FoundFile, *, encoding: str | None = None, max_file_size: int = MAX_FILE_SIZE
) -> Document:
    """Return the text of what a walk found; `-` reads standard input.

    Raises:
        InputError: with one of the codes of file records.
        InvalidOption: `encoding` names none.
    """
    if found.path == STDIN and found.location == Path(STDIN):
        data = _read_stream(sys.stdin.buffer, STDIN, max_file_size)
        return _to_document(Source(data, STDIN, "", encoding))
    return extract(
        found.location,
        path=found.path,
        encoding=encoding,
        max_file_size=max_file_size,
        was_listed=True,
    )


def _to_document(source: Source) -> Document:
    if not source.data.strip():
        raise InputError(f"{source.path} is empty; there is nothing to embed", "empty")
    document = find_format(source).load()(source)
    if not document.text.strip():
        raise InputError(f"{source.path} holds only white space or empty values", "empty")
    return document


def _read(file: Path, shown: str, limit: int, *, was_listed: bool) -> bytes:
    try:
        with file.open("rb", buffering=0) as stream:
            before = os.fstat(stream.fileno())
            if stat.S_ISREG(before.st_mode) and before.st_size > limit:
                raise too_large(shown, before.st_size, limit)
            data = _read_stream(stream, shown, limit)
            after = os.fstat(stream.fileno())
    except OSError as error:
        raise read_error(shown, error, was_listed=was_listed) from error
    except ValueError as error:  # a NUL in the path
        raise InputError(f"{shown!r} cannot be the name of a file", "not_found") from error
    if stat.S_ISREG(before.st_mode) and _is_changed(before, after, len(data)):
        raise InputError(
            f"{shown} changed while it was read; run again when nothing writes to it",
            "changed_while_reading",
        )
    return data


def _is_changed(before: os.stat_result, after: os.stat_result, n_read: int) -> bool:
    # Files of /proc and the like report size 0 and have content.
    is_short = before.st_size > 0 and n_read != before.st_size
    moved = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
    return is_short or moved


def _read_stream(stream: BinaryIO | FileIO, shown: str, limit: int) -> bytes:
    """Read to the end, but never more than the limit: a pipe or device may have none."""
    parts: list[bytes] = []
    size = 0
    while block := stream.read(_BLOCK_BYTES):
        parts.append(block)
        size += len(block)
        if size > limit:
            raise too_large(shown, size, limit)
    return b"".join(parts)
