"""Which folders lie on drives of other machines, whose changes this system does not announce."""

import os
import sys
from functools import lru_cache
from pathlib import Path

_NETWORK = (
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "davfs", "fuse.sshfs",
    "fuse.rclone", "fuse.davfs", "virtiofs", "vboxsf", "drvfs",
)  # fmt: skip
_MOUNTS = Path("/proc/self/mounts")


def is_network_path(folder: Path) -> bool:
    """Tell whether a folder lies on a network drive; False where the system does not say."""
    if sys.platform == "win32":
        return _is_windows_share(folder)
    try:
        mounts = _MOUNTS.read_text("utf-8", "surrogateescape")
    except OSError:  # not Linux
        return False
    real = os.path.realpath(folder)
    best = max(
        (each for each in _parsed(mounts) if _lies_below(real, each[0])),
        key=lambda each: len(each[0]),
        default=("", ""),
    )
    return best[1] in _NETWORK


@lru_cache(maxsize=4)
def _parsed(mounts: str) -> tuple[tuple[str, str], ...]:
    """Return mount point and type of each line; the kernel writes blanks as octal escapes."""
    rows = (line.split(" ") for line in mounts.splitlines())
    return tuple((_unescaped(row[1]), row[2]) for row in rows if len(row) > 2)


def _unescaped(text: str) -> str:
    for escape, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(escape, character)
    return text


def _lies_below(path: str, mount: str) -> bool:
    return path == mount or path.startswith(mount.rstrip("/") + "/")


def _is_windows_share(folder: Path) -> bool:
    if sys.platform != "win32":
        return False
    import ctypes

    drive = folder.absolute().drive
    if drive.startswith("\\\\"):
        return True
    remote = 4  # DRIVE_REMOTE
    return bool(ctypes.windll.kernel32.GetDriveTypeW(drive + "\\") == remote)
