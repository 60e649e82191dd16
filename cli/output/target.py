"""Where bytes go: stdout, or a file that appears whole or not at all."""

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from embedge.cli.failure import ClosedPipe
from embedge.models.bundle import fsync_path
from embedge.models.errors import EmbedgeError
from embedge.models.file_lock import FileLock


class Target(Protocol):
    """A place for bytes. `write` hands whole records to the system before it returns."""

    def write(self, data: bytes) -> None:
        """Append bytes."""

    @contextmanager
    def seekable(self) -> Iterator[BinaryIO]:
        """Give a file that can be rewound, for formats that write their header last."""
        ...

    def commit(self) -> None:
        """Everything is written."""

    def abandon(self, *, keep: bool) -> None:
        """The run did not end well; `keep` leaves what was written for `--resume`."""


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Give errors of the system the name of the file; a write error comes without."""
    try:
        yield
    except BrokenPipeError:
        raise ClosedPipe from None
    except OSError as error:
        error.filename = error.filename or path
        raise


class Stdout:
    """Standard output; each record is flushed, so that a reader in a pipe sees it at once."""

    def write(self, data: bytes) -> None:
        """Write and flush."""
        with _naming("stdout"):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    @contextmanager
    def seekable(self) -> Iterator[BinaryIO]:
        """Give a temporary file, copied to stdout at the end."""
        with tempfile.TemporaryFile() as file:
            with _naming(tempfile.gettempdir()):
                yield file
                file.flush()
            file.seek(0)
            with _naming("stdout"):
                shutil.copyfileobj(file, sys.stdout.buffer)
                sys.stdout.buffer.flush()

    def commit(self) -> None:
        """Nothing to do: everything is flushed."""

    def abandon(self, *, keep: bool) -> None:
        """Nothing to do: what is written is written."""


class PartialFile:
    """`FILE.partial`, renamed to FILE at the end."""

    def __init__(self, path: Path, *, append: bool = False) -> None:
        """Open `path.partial`; `append` goes on behind what is there.

        Raises:
            OSError: the file cannot be made.
        """
        self.path = path
        self.partial = partial_path(path)
        self._file = self.partial.open("r+b" if append else "w+b")
        self._file.seek(0, os.SEEK_END)

    def write(self, data: bytes) -> None:
        """Append and hand to the system, so that a killed process leaves whole records."""
        with _naming(str(self.partial)):
            self._file.write(data)
            self._file.flush()

    @contextmanager
    def seekable(self) -> Iterator[BinaryIO]:
        """Give the file itself."""
        with _naming(str(self.partial)):
            yield self._file
            self._file.flush()

    def commit(self) -> None:
        """Flush to disk, then rename over FILE."""
        with _naming(str(self.partial)):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        self.partial.replace(self.path)
        fsync_path(self.path.parent)

    def abandon(self, *, keep: bool) -> None:
        """Close; remove `FILE.partial` unless a later run can continue it."""
        try:
            self._file.close()
        except OSError:
            pass  # the disk is full and has already been reported; what was flushed stays
        if not keep:
            self.partial.unlink(missing_ok=True)


class OpenFile:
    """A device or named pipe given with `-o`: written directly, since it cannot be renamed."""

    def __init__(self, path: Path) -> None:
        """Open `path` for writing.

        Raises:
            OSError: it cannot be opened.
        """
        self._path = path
        self._file = path.open("wb")

    def write(self, data: bytes) -> None:
        """Write and flush."""
        with _naming(str(self._path)):
            self._file.write(data)
            self._file.flush()

    @contextmanager
    def seekable(self) -> Iterator[BinaryIO]:
        """Give a temporary file, copied at the end."""
        with tempfile.TemporaryFile() as file:
            yield file
            file.seek(0)
            with _naming(str(self._path)):
                shutil.copyfileobj(file, self._file)

    def commit(self) -> None:
        """Close."""
        with _naming(str(self._path)):
            self._file.close()

    def abandon(self, *, keep: bool) -> None:
        """Close, whatever was written."""
        try:
            self._file.close()
        except OSError:
            pass  # reported by the write that failed


def partial_path(path: Path) -> Path:
    """Return `FILE.partial` of FILE."""
    return path.with_name(f"{path.name}.partial")


@contextmanager
def alone_with(path: Path | None) -> Iterator[None]:
    """Keep a second run from writing the same `FILE.partial`; nothing to do for stdout.

    The lock ends with the process that holds it, however that ends.

    Raises:
        FileNotFoundError: the folder of FILE does not exist.
        EmbedgeError: another run writes the file.
    """
    # On Windows a locked file could not be written by ourselves.
    if path is None or not _is_replaceable(path) or sys.platform == "win32":
        yield
        return
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder; make it first", str(path.parent))
    lock = FileLock(partial_path(path))
    if not lock.acquire():
        raise EmbedgeError(
            f"{partial_path(path)} is being written by another run; wait for it, or choose "
            f"another file with -o"
        )
    try:
        yield
    finally:
        lock.release()


def _is_replaceable(path: Path) -> bool:
    """Say whether FILE can appear through a rename: it is a plain file, or not there yet."""
    return path.is_file() or not path.exists()


def open_target(path: Path | None, *, append: bool = False) -> Target:
    """Open stdout (None or `-`), a device, or FILE through `FILE.partial`.

    Raises:
        OSError: the file cannot be made.
    """
    if path is None or str(path) == "-":
        return Stdout()
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder; give a file name", str(path))
    return PartialFile(path, append=append) if _is_replaceable(path) else OpenFile(path)
