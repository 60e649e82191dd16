"""Cut a corpus into shards: a few megabytes or some thousand rows, the same on every call.

A shard is small enough that a lost one costs minutes, and large enough that handing it out costs
nothing. Shards follow from the input only, never from the number of workers.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from embedge.models.errors import InputError, InvalidOption
from embedge.runtime.walk import FailedFile, Item

SHARD_BYTES = 4 << 20
SHARD_FILES = 256
SHARD_ROWS = 4096

_BLOCK = 64 << 10
ROW_SUFFIXES = (".jsonl", ".ndjson", ".parquet")


@dataclass(frozen=True)
class FileRef:
    """A file of a shard, or what a walk found wrong with it."""

    path: str
    location: str
    size: int | None
    mtime_ns: int
    is_explicit: bool
    code: str = ""
    message: str = ""


@dataclass(frozen=True)
class Shard:
    """A part of the corpus.

    Attributes:
        number: of its part.
        files: documents to cut; empty for rows.
        path, location: the file of the rows, as records spell it and as it is opened.
        start, stop: bytes of JSON Lines, or row groups of Parquet; `stop` is exclusive.
        first_row: 0-based number of the first row in its file.
        stamp: size and modification time of the file of the rows.
    """

    number: int
    files: tuple[FileRef, ...] = ()
    path: str = ""
    location: str = ""
    start: int = 0
    stop: int = 0
    first_row: int = 0
    stamp: tuple[int, int] = (0, 0)

    def to_json(self) -> str:
        """Return one line of JSON, the form in which a shard travels."""
        return json.dumps(asdict(self), ensure_ascii=True, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Shard":
        """Read what `to_json` gave."""
        fields = json.loads(text)
        fields["files"] = tuple(FileRef(**each) for each in fields["files"])
        fields["stamp"] = tuple(fields["stamp"])
        return cls(**fields)


def shards_of_files(items: Iterable[Item]) -> Iterator[Shard]:
    """Group files of a walk in their order; a large file is a shard of its own.

    Raises:
        InvalidOption: standard input is among them; workers cannot read it.
    """
    number, size = 0, 0
    group: list[FileRef] = []
    for item in items:
        ref = _reference(item)
        if group and (size + (ref.size or 0) > SHARD_BYTES or len(group) >= SHARD_FILES):
            yield Shard(number, tuple(group))
            number, group, size = number + 1, [], 0
        group.append(ref)
        size += ref.size or 0
    if group:
        yield Shard(number, tuple(group))


def _reference(item: Item) -> FileRef:
    if isinstance(item, FailedFile):
        return FileRef(item.path, "", None, 0, False, item.error.code, str(item.error))
    if item.size is None:
        raise InvalidOption(
            f"{item.path} is a stream; many workers read plain files. Write it to a file first"
        )
    try:
        mtime_ns = item.location.stat().st_mtime_ns
    except OSError:
        mtime_ns = 0  # it went away; the worker will say so
    location = str(item.location.absolute())
    return FileRef(item.path, location, item.size, mtime_ns, item.is_explicit)


def shards_of_rows(items: Iterable[Item]) -> Iterator[Shard]:
    """Cut JSON Lines at line ends and Parquet at row groups; never two files in one shard.

    Raises:
        InputError: a file cannot be read.
        InvalidOption: a file is of another kind.
    """
    number = 0
    for item in items:
        if isinstance(item, FailedFile):
            raise item.error
        suffix = item.location.suffix.lower()
        if suffix not in ROW_SUFFIXES:
            raise InvalidOption(
                f"{item.path}: --field reads rows of {', '.join(ROW_SUFFIXES)} files; leave others "
                f"out with --include"
            )
        cut = _cut_parquet if suffix == ".parquet" else _cut_lines
        status = item.location.stat()
        for start, stop, first_row in cut(item.location):
            yield Shard(
                number,
                path=item.path,
                location=str(item.location.absolute()),
                start=start,
                stop=stop,
                first_row=first_row,
                stamp=(status.st_size, status.st_mtime_ns),
            )
            number += 1


def _cut_parquet(path: Path) -> Iterator[tuple[int, int, int]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        metadata = parquet.read_metadata(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} is no readable Parquet file: {error}", "format") from error
    counts = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    start = rows = first = 0
    for group, count in enumerate(counts):
        if rows and rows + count > SHARD_ROWS:
            yield start, group, first
            start, first, rows = group, first + rows, 0
        rows += count
    if rows:
        yield start, len(counts), first


def _cut_lines(path: Path) -> Iterator[tuple[int, int, int]]:
    """Count lines block by block; about a gigabyte per second and core."""
    with path.open("rb") as file:
        start = first = rows = 0
        for end, lines in _line_ends(file):
            if rows + lines < SHARD_ROWS:
                rows += lines
                continue
            yield start, end, first
            start, first, rows = end, first + rows + lines, 0
        stop = file.seek(0, 2)
        if stop > start:
            yield start, stop, first


def _line_ends(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Yield (position behind the last line end of a block, number of lines up to there)."""
    base = 0
    while block := file.read(_BLOCK):
        at = block.rfind(b"\n") + 1
        if at:
            yield base + at, block.count(b"\n")
        base += len(block)


def fingerprint(shards: Sequence[Shard]) -> str:
    """Hash names, sizes and times of the input and where it is cut."""
    import hashlib

    digest = hashlib.sha256()
    for shard in shards:
        digest.update(shard.to_json().encode() + b"\n")
    return digest.hexdigest()
