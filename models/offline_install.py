"""Install a model from the folder or zip that `embed models bundle` wrote, without network."""

import hashlib
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from embedge.models import strict_json
from embedge.models.bundle import BundleDraft, move_bundle, open_bundle, scratch_folder
from embedge.models.disk_space import require_space
from embedge.models.errors import BundleError, InvalidOption, ModelIntegrityError
from embedge.models.manifest import MANIFEST_NAME, Manifest, parse_manifest
from embedge.models.manifest_check import PLAIN_NAME
from embedge.models.offline_copy import FORMAT, INDEX_NAME, place_of
from embedge.models.store import models_dir

_BLOCK = 1 << 20
_LARGEST_TEXT = 16 << 20  # of the two descriptions; a bundle's own has about 40 kB


class _Source(Protocol):
    """The files of a copy, by their names in it."""

    def open(self, name: str) -> BinaryIO:
        """Open one file; KeyError or OSError when it cannot be."""


def is_offline_copy(path: Path) -> bool:
    """Say whether `path` is a folder or a zip with the description of a copy."""
    if path.is_dir():
        return (path / INDEX_NAME).is_file()
    return path.suffix == ".zip" and path.is_file()


def install_offline_copy(path: Path, *, cache_dir: Path | None = None) -> tuple[Path, bool]:
    """Install the model of a copy into the store; every file is checked on the way.

    Returns:
        The bundle in the store, and whether it is new there.

    Raises:
        InvalidOption: `path` is no such copy.
        BundleError, ModelIntegrityError: a file is missing, too long, or has another hash.
        EmbedgeError: too little space is free.
    """
    with _opened(path) as source:
        manifest, place = _described(path, source)
        installed = models_dir(cache_dir).joinpath(*place.parts[1:])
        if (installed / MANIFEST_NAME).is_file():
            open_bundle(installed, verify="full")
            return installed, False
        size = sum(entry.size for entry in manifest.files.values())
        require_space(installed.parent, {"model": size})
        with scratch_folder(installed) as folder:
            _extract(path, source, place, manifest, folder)
            finished = folder / "bundle"
            draft = folder / "draft"
            draft.mkdir()
            for name in manifest.files:
                (folder / name).rename(draft / name)
            BundleDraft(draft, finished).finish(manifest)
            move_bundle(finished, installed)
    return installed, True


def _described(path: Path, source: _Source) -> tuple[Manifest, PurePosixPath]:
    """Return the bundle's manifest and its place, after a look at every name."""
    index, _ = _json(path, source, INDEX_NAME)
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise BundleError(f"{path}: {INDEX_NAME} is not of format {FORMAT}. Update embedge.")
    place = PurePosixPath(str(index.get("bundle")))
    if not all(PLAIN_NAME.fullmatch(part) for part in place.parts):
        raise BundleError(f"{path}: {INDEX_NAME} names the place {str(place)!r}, no plain path")
    name = str(place / MANIFEST_NAME)
    fields, sha256 = _json(path, source, name)
    files = index.get("files")
    entry = files.get(name) if isinstance(files, dict) else None
    if not isinstance(entry, dict) or entry.get("sha256") != sha256:
        raise ModelIntegrityError(f"{path}: {name} has another hash than listed. Copy it again.")
    manifest = parse_manifest(fields, f"{path}: {name}")
    if place_of(manifest) != place:
        raise BundleError(f"{path}: {place} holds {place_of(manifest)}. Make the copy again.")
    return manifest, place


def _extract(
    path: Path, source: _Source, place: PurePosixPath, manifest: Manifest, folder: Path
) -> None:
    problems = []
    for name, entry in manifest.files.items():
        digest_or_problem = _extract_one(source, str(place / name), folder / name, entry.size)
        if digest_or_problem != entry.sha256:
            problems.append(f"{name}: {digest_or_problem}, expected SHA-256 {entry.sha256}")
    if problems:
        raise ModelIntegrityError(f"{path}: {'; '.join(problems)}. Copy it again.")


def _extract_one(source: _Source, name: str, target: Path, size: int) -> str:
    """Write one file; return its hash, or what is wrong. Never writes beyond the size."""
    digest, left = hashlib.sha256(), size
    try:
        with source.open(name) as file, target.open("xb") as out:
            while block := file.read(min(_BLOCK, left + 1)):
                left -= len(block)
                if left < 0:
                    return f"longer than {size} bytes"
                digest.update(block)
                out.write(block)
    except KeyError:
        return "missing"
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        return f"cannot be read ({error})"
    return f"{size - left} bytes of {size}" if left else f"{digest.hexdigest()}"


def _json(path: Path, source: _Source, name: str) -> tuple[object, str]:
    """Return the decoded file and the hash of its bytes."""
    try:
        with source.open(name) as file:
            data = file.read(_LARGEST_TEXT + 1)
        if len(data) > _LARGEST_TEXT:
            raise ValueError(f"longer than {_LARGEST_TEXT} bytes")
        return strict_json.loads(data.decode("utf-8")), hashlib.sha256(data).hexdigest()
    except KeyError:
        raise InvalidOption(
            f"{path} is no copy of a model: it has no {name}. Make one with "
            f"`embed models bundle NAME {path.name}`"
        ) from None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path}: {name} cannot be read: {error}. Copy it again.") from error


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, name: str) -> BinaryIO:
        """Open a plain file of the folder; links are refused."""
        path = self._root / name
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            raise KeyError(name) from None
        if not stat.S_ISREG(mode):
            raise OSError("not a plain file")
        return path.open("rb")


class _Zip:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def open(self, name: str) -> BinaryIO:
        """Open a member; nothing is ever extracted under a name from the archive."""
        return self._archive.open(name)  # type: ignore[return-value]


@contextmanager
def _opened(path: Path) -> Iterator[_Source]:
    if path.is_dir():
        yield _Folder(path)
        return
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path} cannot be read as a zip: {error}. Copy it again.") from error
    with archive:
        yield _Zip(archive)
