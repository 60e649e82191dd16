"""Free space, checked before hours of work instead of after."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from embedge.models.errors import EmbedgeError


def readable_size(size_bytes: int) -> str:
    """Write a number of bytes in decimal units with one digit: `1.9 GB`."""
    value = float(size_bytes)
    for unit in ("bytes", "kB", "MB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def require_space(folder: Path, needs: Mapping[str, int]) -> None:
    """Refuse to start when the file system of `folder` cannot hold what is to come.

    Args:
        folder: where the files will go; it need not exist yet.
        needs: bytes for each named part, for example `{"download": 1_900_000_000}`.

    Raises:
        EmbedgeError: too little is free; names every part, the sum and what is free.
    """
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    free, total = shutil.disk_usage(existing).free, sum(needs.values())
    if total > free:
        parts = ", ".join(f"{readable_size(size)} for the {part}" for part, size in needs.items())
        raise EmbedgeError(
            f"{folder} needs {readable_size(total)} ({parts}), but only {readable_size(free)} are "
            f"free there. Free some space, or choose another disk with --cache-dir."
        )
