"""Files that survive a crash: hash, temporary name, flush, rename."""

import hashlib
import os
import secrets
from pathlib import Path

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


def write_atomically(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write through a temporary file in the same folder, fsync and rename.

    Args:
        path: final name; an existing file is replaced at once.
        data: the whole content.
        mode: permissions before the umask; 0o600 for private files.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    handle = os.open(temporary, flags, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)
