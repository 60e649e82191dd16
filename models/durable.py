"""Files that survive a crash: hash, temporary name, flush, rename."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PRIVATE = 0o600
"""Permissions of files that hold people's texts."""

_BLOCK = 1 << 20


def file_sha256(path: Path) -> str:
    """Hash a file in blocks of 1 MiB; returns 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def fsync_path(path: Path) -> None:
    """Flush a file or folder to disk; folders are skipped where the system has no such call."""
    if os.name == "nt":
        if path.is_dir():
            return
        flags = os.O_RDWR  # Windows flushes only through a handle that may write
    else:
        flags = os.O_RDONLY
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def new_file(path: Path, *, mode: int = 0o666, many_writers: bool = True) -> Iterator[Path]:
    """Give an empty file beside `path`; once it is written, it is flushed and takes that name.

    After an exception nothing of it is left, and what was at `path` is still there.

    Args:
        path: final name; an existing file is replaced at once.
        mode: permissions before the umask; 0o600 for private files, then whatever the umask.
        many_writers: several processes may write `path` at a time. Otherwise what a killed one
            left has a known name, and the next one takes its place.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    ending = secrets.token_hex(6) if many_writers else "partial"
    temporary = path.with_name(f".{path.name}.{ending}")
    if not many_writers:
        temporary.unlink(missing_ok=True)
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    try:
        if mode == PRIVATE:
            temporary.chmod(mode)
        yield temporary
        fsync_path(temporary)
        os.replace(temporary, path)
        fsync_path(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write the whole content of a file through a temporary one; see `new_file`."""
    with new_file(path, mode=mode) as temporary:
        temporary.write_bytes(data)
