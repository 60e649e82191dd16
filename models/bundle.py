"""The bundle on disk: written whole or not at all, read only if its hashes match."""

import contextlib
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from embedge.models import strict_json
from embedge.models.durable import file_sha256 as file_sha256
from embedge.models.durable import fsync_path as fsync_path
from embedge.models.durable import write_atomically as write_atomically
from embedge.models.errors import BundleError, ModelIntegrityError
from embedge.models.file_lock import FileLock
from embedge.models.manifest import (
    MANIFEST_NAME,
    FileEntry,
    GraphEntry,
    Manifest,
    parse_manifest,
    read_manifest,
)
from embedge.models.manifest_check import PLAIN_NAME
from embedge.models.space import Variant
from embedge.models.verified import VerifiedFiles

WEIGHTS_NAME = "weights.bin"
TOKENIZER_NAME = "tokenizer.json"
Verify = Literal["cached", "full"]

_LEFTOVER = re.compile(r"\..+\.(partial|removed)-[0-9a-f]{12}")
# Where folders cannot be locked, only the age of a draft tells that nobody works on it.
_UNLOCKED_GRACE_S = 24 * 3600


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


def open_bundle(path: Path, *, verify: Verify = "cached", cache_dir: Path | None = None) -> Bundle:
    """Open a bundle after checking every file against the manifest.

    Args:
        path: the bundle folder.
        verify: `full` hashes every file and refuses files that the manifest does not list;
            `cached` trusts a hash that was checked before while size, mtime and inode of the file
            are unchanged, and ignores further files.
        cache_dir: where the results of earlier checks are kept; None keeps nothing.

    Raises:
        BundleError: the folder is not a bundle.
        ModelIntegrityError: files are missing, truncated, altered or links; names all of them.
    """
    manifest = read_manifest(path)
    memory = VerifiedFiles(path, cache_dir)
    checked = [
        _file_problem(path / name, entry, memory, verify) for name, entry in manifest.files.items()
    ]
    problems = [problem for problem in checked if problem]
    if verify == "full":
        listed = manifest.files.keys() | {MANIFEST_NAME}
        extra = sorted(entry.name for entry in path.iterdir() if entry.name not in listed)
        problems += [f"{name} is not part of the bundle" for name in extra]
    memory.save()
    if problems:
        raise ModelIntegrityError(
            f"{path}: {'; '.join(problems)}. "
            f"Install the model again, or export and quantize it again."
        )
    return Bundle(path, manifest)


def _file_problem(
    file: Path, entry: FileEntry, memory: VerifiedFiles, verify: Verify
) -> str | None:
    try:
        status = file.lstat()
        if stat.S_ISLNK(status.st_mode):
            return f"{file.name} is a link; bundles hold plain files (copy them with `cp -rL`)"
        if not stat.S_ISREG(status.st_mode):
            return f"{file.name} is not a plain file"
        if status.st_size != entry.size:
            return f"{file.name} has {status.st_size} bytes, expected {entry.size}"
        if verify == "cached" and memory.knows(file.name, status, entry.sha256):
            return None
        found = file_sha256(file)
        after = file.lstat()
    except OSError as error:
        return f"{file.name} cannot be read ({error.strerror})"
    if found != entry.sha256:
        return f"{file.name} has SHA-256 {found[:12]}…, expected {entry.sha256[:12]}…"
    # A file that changed while it was read is not remembered; the next start hashes it again.
    if (after.st_mtime_ns, after.st_ino) == (status.st_mtime_ns, status.st_ino):
        memory.remember(file.name, status, entry.sha256)
    return None


class BundleDraft:
    """A bundle being written in a temporary folder beside its final place."""

    def __init__(self, folder: Path, out: Path) -> None:
        self.folder = folder
        self._out = out

    def finish(self, manifest: Manifest) -> Bundle:
        """Hash all files, write the manifest, flush everything and move the folder into place.

        Raises:
            BundleError: the manifest contradicts itself or the files, the folder holds something
                else than plain files, or another process finished `out` first.
        """
        files = {}
        for file in sorted(self.folder.iterdir()):
            if not stat.S_ISREG(file.lstat().st_mode) or not PLAIN_NAME.fullmatch(file.name):
                raise BundleError(
                    f"{file} is not a plain file; a bundle holds only plain files of plain names"
                )
            # Generators write through temporary files of mode 0600; readers may be other users.
            file.chmod(0o644)
            files[file.name] = FileEntry(file.stat().st_size, file_sha256(file))
            fsync_path(file)
        self._write_manifest(replace(manifest, files=files))
        self._move_into_place()
        return Bundle(self._out, read_manifest(self._out))

    def _write_manifest(self, manifest: Manifest) -> None:
        where = f"the manifest of {self._out}"
        try:
            text = manifest.dump()
        except (TypeError, ValueError) as error:
            raise BundleError(f"{where} cannot be written: {error}") from error
        parse_manifest(strict_json.loads(text), where)
        path = self.folder / MANIFEST_NAME
        path.write_bytes(text.encode("utf-8"))
        fsync_path(path)

    def _move_into_place(self) -> None:
        fsync_path(self.folder)
        try:
            os.rename(self.folder, self._out)
        except OSError as error:
            if self._out.exists() or self._out.is_symlink():
                raise _exists(self._out) from error
            raise
        fsync_path(self._out.parent)


@contextmanager
def new_bundle(out: Path) -> Iterator[BundleDraft]:
    """Give a draft whose `finish` makes `out` appear at once; anything else leaves nothing.

    Drafts that processes left when they were killed are removed from the same folder first.

    Raises:
        BundleError: `out` exists already.
        OSError: the folder of `out` cannot be written.
    """
    if out.exists() or out.is_symlink():
        raise _exists(out)
    with scratch_folder(out) as folder:
        yield BundleDraft(folder, out)


@contextmanager
def scratch_folder(beside: Path) -> Iterator[Path]:
    """Give an empty folder on the disk of `beside`, removed at the end, also after a kill.

    Should this process be killed, the next conversion into the same place removes the folder.

    Raises:
        OSError: the folder of `beside` cannot be written.
    """
    beside.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(beside.parent)
    lock = _locked_folder(beside)
    try:
        yield lock.path
    finally:
        if lock.path.exists():
            shutil.rmtree(lock.path)
        lock.release()


def _locked_folder(out: Path) -> FileLock:
    """Make the temporary folder of a draft; its lock tells others that we live."""
    while True:
        folder = out.parent / f".{out.name}.partial-{secrets.token_hex(6)}"
        folder.mkdir()
        lock = FileLock(folder, is_folder=True)
        with contextlib.suppress(FileNotFoundError):
            # Between `mkdir` and the lock, a cleaning process may take the folder for a leftover.
            if lock.acquire() and folder.exists():
                return lock
        lock.release()


def move_bundle(source: Path, out: Path) -> None:
    """Move a finished bundle to `out` on the same disk, in place of the bundle that is there.

    Raises:
        BundleError: another process put one there meanwhile.
        OSError: a folder cannot be changed.
    """
    if (out / MANIFEST_NAME).exists():
        remove_bundle(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(source, out)
    except OSError as error:
        if out.exists():
            raise _exists(out) from error
        raise
    fsync_path(out.parent)


def remove_bundle(path: Path) -> None:
    """Remove a bundle so that it stops being loadable at once, even if this is interrupted.

    Raises:
        BundleError: another process removes it.
        OSError: the folder cannot be changed.
    """
    doomed = path.with_name(f".{path.name}.removed-{secrets.token_hex(6)}")
    lock = FileLock(path, is_folder=True)
    if not lock.acquire():
        raise BundleError(f"{path} is being removed by another process")
    try:
        os.rename(path, doomed)
        fsync_path(path.parent)
        shutil.rmtree(doomed)
    finally:
        lock.release()


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove the drafts in `folder` whose processes are gone; return them.

    A draft belongs to a living process while its lock is held. What cannot be removed (another
    user's, a read-only folder) stays and is not returned.
    """
    found = (entry for entry in sorted(folder.iterdir()) if _LEFTOVER.fullmatch(entry.name))
    return [entry for entry in found if _remove_abandoned(entry)]


def _remove_abandoned(draft: Path) -> bool:
    if draft.is_symlink() or not draft.is_dir():
        return False
    lock = FileLock(draft, is_folder=True)
    try:
        if not lock.acquire():
            return False
        if not lock.protects and time.time() - draft.stat().st_mtime < _UNLOCKED_GRACE_S:
            return False
        shutil.rmtree(draft)
    except OSError:
        return False  # vanished meanwhile, or not ours to touch
    finally:
        lock.release()
    return True


def _exists(out: Path) -> BundleError:
    return BundleError(f"{out} exists already; choose another name or remove it first")
