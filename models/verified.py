"""Memory of checked hashes, so that opening a bundle twice does not read it twice."""

import contextlib
import hashlib
import json
import os
from pathlib import Path

from embedge.models import strict_json
from embedge.models.durable import write_atomically
from embedge.models.strict_json import Json


class VerifiedFiles:
    """Which files of one bundle had which hash at which size, mtime and inode.

    A damaged or missing memory only costs hashing again; it never makes a bundle valid, since
    the hash it holds must equal the one in the manifest.
    """

    def __init__(self, bundle: Path, cache_dir: Path | None) -> None:
        self._file: Path | None = None
        self._known: dict[str, Json] = {}
        self._changed = False
        if cache_dir is not None:
            key = hashlib.sha256(os.fsencode(bundle.resolve())).hexdigest()[:16]
            self._file = cache_dir / "verified" / f"{key}.json"
            self._known = _load(self._file)

    def knows(self, name: str, status: os.stat_result, sha256: str) -> bool:
        """Say whether `name` had this hash when it last had this size, mtime and inode."""
        return self._known.get(name) == _key(status, sha256)

    def remember(self, name: str, status: os.stat_result, sha256: str) -> None:
        """Note a hash that was just computed."""
        key = _key(status, sha256)
        if self._known.get(name) != key:
            self._known[name] = key
            self._changed = True

    def save(self) -> None:
        """Write what was learnt; a folder that cannot be written only costs hashing next time."""
        if self._file is None or not self._changed:
            return
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._file, json.dumps(self._known).encode("utf-8"))


def _load(file: Path) -> dict[str, Json]:
    try:
        raw = strict_json.load(file)
    except (OSError, ValueError):
        return {}
    return raw if isinstance(raw, dict) else {}


def _key(status: os.stat_result, sha256: str) -> list[Json]:
    return [status.st_size, status.st_mtime_ns, status.st_ino, sha256]
