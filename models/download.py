"""One file over HTTP: continued after an interruption, checked, and then moved into place.

huggingface_hub 2 dropped resuming between runs (its part files have random names and are removed
after a failure), so the part file is ours; the transfer itself, with its retries, is still theirs.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from embedge.models.durable import fsync_path
from embedge.models.errors import ModelIntegrityError

_BLOCK = 1 << 20


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub announces it: size in bytes and the hashes that it knows."""

    name: str
    size: int
    sha256: str | None
    git_sha1: str | None

    @property
    def part_name(self) -> str:
        """Name of the unfinished file; it names the content, so two versions never mix."""
        content = self.sha256 or self.git_sha1 or "unknown"
        return f".{self.name.replace('/', '_')}.{content[:12]}.part"


def left_to_fetch(files: Sequence[RemoteFile], dest: Path) -> int:
    """Return how many bytes a download into `dest` still has to write."""
    return sum(
        file.size - max(_size_of(dest / file.name), _size_of(dest / file.part_name))
        for file in files
    )


def fetch_file(
    file: RemoteFile,
    url: str,
    headers: Mapping[str, str],
    dest: Path,
    progress: Callable[[int], None],
) -> None:
    """Make `dest / file.name` exist with the announced size and hash.

    A finished file is checked and kept; an unfinished one is continued. `progress` gets the bytes
    present so far.

    Raises:
        ModelIntegrityError: size or hash is wrong; the file is removed, so that the next try
            starts afresh.
        Exception: an error of huggingface_hub or its HTTP client; the next try continues.
    """
    target, part = dest / file.name, dest / file.part_name
    if _size_of(target) == file.size and not _problem(file, target):
        progress(file.size)
        return
    target.unlink(missing_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    if _size_of(part) > file.size:
        part.unlink()
    _transfer(file, url, headers, part, progress)
    problem = _problem(file, part)
    if problem:
        part.unlink()
        raise ModelIntegrityError(f"{url} {problem}. Run the command again to fetch it anew.")
    fsync_path(part)
    os.replace(part, target)
    fsync_path(target.parent)


def network_error() -> type[Exception]:
    """Return the root error of the HTTP client that huggingface_hub uses.

    The client changed between versions (requests, httpx, httpx2); its root is the first parent of
    the hub's own error.
    """
    from huggingface_hub.errors import HfHubHTTPError

    return cast("type[Exception]", HfHubHTTPError.__bases__[0])


def is_disk_error(error: Exception) -> bool:
    """Tell a full or read-only disk from a network that failed; both are OSErrors."""
    return isinstance(error, OSError) and error.errno is not None


def _transfer(
    file: RemoteFile,
    url: str,
    headers: Mapping[str, str],
    part: Path,
    progress: Callable[[int], None],
) -> None:
    """Fill the part file; reconnects as long as that brings new bytes."""
    from huggingface_hub.errors import HfHubHTTPError

    while True:
        before = _size_of(part)
        try:
            _append(file, url, headers, part, progress)
        except (network_error(), OSError) as error:
            size = _size_of(part)
            if isinstance(error, HfHubHTTPError) or is_disk_error(error) or size == before:
                raise
            if size > file.size:
                # Early versions append a whole answer where the server ignored the range.
                part.unlink()
                if before == 0:
                    raise
        else:
            return


def _append(
    file: RemoteFile,
    url: str,
    headers: Mapping[str, str],
    part: Path,
    progress: Callable[[int], None],
) -> None:
    from huggingface_hub.file_download import http_get

    with part.open("ab") as sink, _no_bars():
        start = sink.tell()
        progress(start)
        http_get(
            url,
            cast("BinaryIO", _Counting(sink, progress)),
            resume_size=start,
            headers=dict(headers),
            expected_size=file.size,
            displayed_filename=file.name,
        )


class _Counting:
    """The part of a binary file that `http_get` uses, reporting its position after each write."""

    def __init__(self, sink: BinaryIO, progress: Callable[[int], None]) -> None:
        self._sink = sink
        self._progress = progress
        self.name = sink.name

    def write(self, data: bytes) -> int:
        written = self._sink.write(data)
        self._progress(self._sink.tell())
        return written

    def tell(self) -> int:
        return self._sink.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._sink.seek(offset, whence)

    def truncate(self, size: int | None = None) -> int:
        return self._sink.truncate(size)


def _problem(file: RemoteFile, path: Path) -> str | None:
    """Say how a complete file differs from what the hub announced; None when it does not."""
    size = _size_of(path)
    if size != file.size:
        return f"has {size} bytes, announced were {file.size}"
    if file.sha256 is not None:
        expected, digest = file.sha256, hashlib.sha256()
    elif file.git_sha1 is not None:
        # Small files are known by their git object id: SHA-1 over a header and the content.
        expected, digest = file.git_sha1, hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    else:
        return None  # some mirrors give no hash
    with path.open("rb") as content:
        while block := content.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != expected:
        return f"has the hash {digest.hexdigest()[:12]}…, announced was {expected[:12]}…"
    return None


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


@contextmanager
def _no_bars() -> Iterator[None]:
    """Keep huggingface_hub's bars and retry notices off the terminal; the progress is ours."""
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # public
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    logger = logging.getLogger("huggingface_hub.file_download")
    level, had_bars = logger.level, not are_progress_bars_disabled()
    logger.setLevel(logging.ERROR)
    if had_bars:
        disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if had_bars:
            enable_progress_bars()
