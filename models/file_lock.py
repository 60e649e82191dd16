"""A lock that ends with its process, so that what a dead process left behind can be told apart."""

import os
import sys
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


class FileLock:
    """An exclusive, advisory lock on a small file, or on a folder, which it follows when renamed.

    Held by the open handle, not by a process number, so it also works between containers that
    share a folder. Where there are no locks (some network file systems, folders on Windows),
    `acquire` says True, and `protects` False.
    """

    def __init__(self, path: Path, *, is_folder: bool = False) -> None:
        self.path = path
        self.is_folder = is_folder
        self.protects = True
        self._handle: int | None = None

    def acquire(self) -> bool:
        """Take the lock without waiting; False while another holder lives.

        A missing file is made; a missing folder is an error.

        Raises:
            OSError: the file or folder cannot be opened.
        """
        if self.is_folder and sys.platform == "win32":
            self.protects = False
            return True
        flags = os.O_RDONLY if self.is_folder else os.O_RDWR | os.O_CREAT
        handle = os.open(self.path, flags, 0o666)
        try:
            _lock(handle)
        except OSError as error:
            if _is_busy(error):
                os.close(handle)
                return False
            self.protects = False
        self._handle = handle
        return True

    def release(self) -> None:
        """Let go; harmless when not held."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _lock(handle: int) -> None:
    if sys.platform == "win32":
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_busy(error: OSError) -> bool:
    return isinstance(error, BlockingIOError | PermissionError)
