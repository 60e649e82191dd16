"""Files and folders as inputs: walk, extract, cut."""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embedge.cli.bulk import open_input
from embedge.cli.chunking import Chunker
from embedge.cli.interrupt import waiting_for_input
from embedge.cli.options import WalkFlags
from embedge.cli.output.resume import Finished
from embedge.cli.output.sidecar import InputLog
from embedge.cli.records import FailedInput, Input, TextInput
from embedge.cli.values import size_in_bytes
from embedge.models.bundle import file_sha256
from embedge.models.errors import InputError, InvalidOption
from embedge.runtime.record_fields import whole_fields

if TYPE_CHECKING:
    from embedge.runtime.extract import Document
    from embedge.runtime.walk import FailedFile, FoundFile


@dataclass(frozen=True)
class FileList:
    """What a walk found, in order; listed before anything is read, so that totals are known."""

    items: "list[FoundFile | FailedFile]"
    encoding: str | None
    max_file_size: int

    @property
    def byte_total(self) -> int:
        """Bytes of all files whose size is known."""
        sizes = (getattr(item, "size", 0) for item in self.items)
        return sum(size or 0 for size in sizes)

    def inputs(
        self, chunker: Chunker | None, finished: Finished, log: InputLog | None
    ) -> Iterator[Input]:
        """Yield the inputs of all files that an earlier run has not finished.

        Args:
            chunker: cuts each file into passages; None gives one text per file.
            finished: paths that are done.
            log: receives path, size and hash of every file that could be read, text or not.
        """
        for item in self.items:
            if item.path in finished.paths:
                if log is not None:
                    _log_file(log, item)
                continue
            yield from self._inputs_of(item, chunker, log)

    def _inputs_of(
        self, item: "FoundFile | FailedFile", chunker: Chunker | None, log: InputLog | None
    ) -> Iterator[Input]:
        from embedge.runtime.walk import FailedFile

        if isinstance(item, FailedFile):
            yield failed_file(item.path, item.error)
            return
        size = item.size or 0
        try:
            document = self._document(item, log)
        except InputError as error:
            yield failed_file(item.path, error, size)
            return
        finally:
            if log is not None:
                _log_file(log, item)
        if chunker is None:
            yield _whole(item.path, document, size)
            return
        one = TextInput(document.text, {"id": item.path, "path": item.path}, size=size)
        yield from chunker.pieces(
            one, kind=document.kind, pages=document.pages, headings=document.headings
        )

    def _document(self, found: "FoundFile", log: InputLog | None) -> "Document":
        from embedge.runtime.extract import extract, extract_found

        if found.path != "-":
            return extract_found(found, encoding=self.encoding, max_file_size=self.max_file_size)
        data = read_stdin(self.max_file_size)
        if log is not None:
            log.add("-", len(data), hashlib.sha256(data).hexdigest())
        return extract(data, path="-", encoding=self.encoding, max_file_size=self.max_file_size)


def list_files(
    paths: Sequence[str], folder_globs: Sequence[tuple[str, str]], flags: WalkFlags
) -> FileList:
    """Find the files that the arguments and filters select.

    Raises:
        InvalidOption: nothing was named, or a pattern or size is not valid.
    """
    if not paths and not folder_globs:
        raise InvalidOption("no file or folder given; name one, as in `embed files docs`")
    from embedge.runtime.walk import walk

    limit = size_in_bytes(flags.max_file_size, "--max-file-size")
    items = walk(
        paths,
        files=folder_globs,
        include=flags.include,
        exclude=flags.exclude,
        gitignore=flags.gitignore,
        hidden=flags.hidden,
        follow_symlinks=flags.follow_symlinks,
        max_file_size=limit,
    )
    return FileList(list(items), flags.encoding, limit)


def read_whole(path: str, encoding: str | None, limit: int) -> tuple[str, bytes]:
    """Return text and bytes of one file or of stdin, whatever its format; empty is allowed.

    Raises:
        InputError: it cannot be read, is binary, or is not in the encoding.
    """
    from embedge.runtime.extract.decoding import decode, without_lone_surrogates
    from embedge.runtime.extract.registry import Source
    from embedge.runtime.read_errors import too_large

    if path == "-":
        data = read_stdin(limit)
    else:
        with open_input(Path(path)) as file:
            data = file.read(limit + 1)
    if len(data) > limit:
        raise too_large(path, len(data), limit)
    text, _ = decode(Source(data, path, "", encoding))
    return without_lone_surrogates(text), data


def read_stdin(limit: int) -> bytes:
    """Read stdin to its end, at most one byte beyond the limit; Ctrl-C ends the wait."""
    if sys.stdin is None:
        raise InputError("-: there is no stdin; name a file", "not_found")
    with waiting_for_input():
        return sys.stdin.buffer.read(limit + 1)


def failed_file(path: str, error: InputError, size: int = 0) -> FailedInput:
    """Return the failed input of a file."""
    return FailedInput(path, path, error.code, str(error), size=size)


def _whole(path: str, document: "Document", size: int) -> TextInput:
    return TextInput(document.text, whole_fields(path, document), size=size)


def _log_file(log: InputLog, item: "FoundFile | FailedFile") -> None:
    location = getattr(item, "location", None)
    if location is None or item.path == "-":
        return
    try:
        size, sha256 = location.stat().st_size, file_sha256(location)
    except OSError:
        return  # it went away after it was read; the records say what was read
    log.add(item.path, size, sha256)
