"""The bundle on disk: written whole or not at all, read only if its hashes match."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from embedge.models.errors import BundleError, ModelIntegrityError
from embedge.models.manifest import (
    MANIFEST_NAME,
    FileEntry,
    GraphEntry,
    Manifest,
    read_manifest,
)
from embedge.models.space import Variant

WEIGHTS_NAME = "weights.bin"
TOKENIZER_NAME = "tokenizer.json"
Verify = Literal["cached", "full"]

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its folder and its checked manifest."""

    path: Path
    manifest: Manifest

    def graph_path(self, variant: Variant, dim: int) -> tuple[Path, GraphEntry]:
        """Return the proto for `variant` at `dim`, and its entry (whose dim may be larger)."""
        entry = self.manifest.graph(variant, dim)
        return self.path / entry.file, entry

    @property
    def tokenizer_path(self) -> Path:
        """Path of `tokenizer.json`."""
        return self.path / TOKENIZER_NAME

    @property
    def size_bytes(self) -> int:
        """Sum of the sizes of all listed files."""
        return sum(entry.size for entry in self.manifest.files.values())


def file_sha256(path: Path) -> str:
    """Hash a file in blocks of 1 MiB; returns 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def open_bundle(path: Path, *, verify: Verify = "cached", cache_dir: Path | None = None) -> Bundle:
    """Open a bundle after checking every file against the manifest.

    Args:
        path: the bundle folder.
        verify: `full` hashes every file; `cached` trusts a hash that was checked before while
            size, mtime and inode of the file are unchanged.
        cache_dir: where the results of earlier checks are kept; None keeps nothing.

    Raises:
        BundleError: the folder is not a bundle.
        ModelIntegrityError: files are missing, truncated or altered; names all of them.
    """
    manifest = read_manifest(path)
    memory = _VerifiedFiles(path, cache_dir)
    problems = []
    for name, entry in manifest.files.items():
        problem = _file_problem(path / name, entry, memory, verify)
        if problem:
            problems.append(problem)
    if problems:
        raise ModelIntegrityError(
            f"{path}: {'; '.join(problems)}. "
            f"Install the model again, or export and quantize it again."
        )
    memory.save()
    return Bundle(path, manifest)


def _file_problem(
    file: Path, entry: FileEntry, memory: "_VerifiedFiles", verify: Verify
) -> str | None:
    try:
        stat = file.stat()
    except OSError as error:
        return f"{file.name} cannot be read ({error.strerror})"
    if stat.st_size != entry.size:
        return f"{file.name} has {stat.st_size} bytes, expected {entry.size}"
    if verify == "cached" and memory.knows(file.name, stat, entry.sha256):
        return None
    found = file_sha256(file)
    if found != entry.sha256:
        return f"{file.name} has SHA-256 {found[:12]}…, expected {entry.sha256[:12]}…"
    memory.remember(file.name, stat, entry.sha256)
    return None


class _VerifiedFiles:
    """Which files of one bundle had which hash at which size, mtime and inode."""

    def __init__(self, bundle: Path, cache_dir: Path | None) -> None:
        self._file: Path | None = None
        self._known: dict[str, list[int | str]] = {}
        self._changed = False
        if cache_dir is not None:
            key = hashlib.sha256(os.fsencode(bundle.resolve())).hexdigest()[:16]
            self._file = cache_dir / "verified" / f"{key}.json"
            self._known = self._load(self._file)

    @staticmethod
    def _load(file: Path) -> dict[str, list[int | str]]:
        try:
            raw = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}  # no cache, or a damaged one: the hashes are computed again
        return raw if isinstance(raw, dict) else {}

    @staticmethod
    def _key(stat: os.stat_result, sha256: str) -> list[int | str]:
        return [stat.st_size, stat.st_mtime_ns, stat.st_ino, sha256]

    def knows(self, name: str, stat: os.stat_result, sha256: str) -> bool:
        return self._known.get(name) == self._key(stat, sha256)

    def remember(self, name: str, stat: os.stat_result, sha256: str) -> None:
        self._known[name] = self._key(stat, sha256)
        self._changed = True

    def save(self) -> None:
        if self._file is None or not self._changed:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._file, json.dumps(self._known).encode("utf-8"))
        except OSError:
            # A read-only or full home only costs hashing again at the next start.
            return


def fsync_path(path: Path) -> None:
    """Flush a file or folder to disk; folders are skipped where the system has no such call."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, data: bytes) -> None:
    """Write through a temporary file in the same folder, fsync and rename."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


class BundleDraft:
    """A bundle being written in a temporary folder beside its final place."""

    def __init__(self, folder: Path, out: Path) -> None:
        self.folder = folder
        self._out = out
        self._finished = False

    def finish(self, manifest: Manifest) -> Bundle:
        """Hash all files, write the manifest, flush everything and move the folder into place."""
        files = {}
        for file in sorted(self.folder.iterdir()):
            files[file.name] = FileEntry(file.stat().st_size, file_sha256(file))
            fsync_path(file)
        complete = replace(manifest, files=files)
        manifest_path = self.folder / MANIFEST_NAME
        manifest_path.write_bytes(complete.dump().encode("utf-8"))
        fsync_path(manifest_path)
        fsync_path(self.folder)
        os.rename(self.folder, self._out)
        fsync_path(self._out.parent)
        self._finished = True
        return Bundle(self._out, read_manifest(self._out))


@contextmanager
def new_bundle(out: Path) -> Iterator[BundleDraft]:
    """Give a draft whose `finish` makes `out` appear at once; anything else leaves nothing.

    Raises:
        BundleError: `out` exists already.
    """
    if out.exists():
        raise BundleError(f"{out} exists already; choose another name or remove it first")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.partial-"))
    folder.chmod(0o755)
    try:
        yield BundleDraft(folder, out)
    finally:
        if folder.exists():
            shutil.rmtree(folder)
