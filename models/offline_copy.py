"""A model as a folder or zip to carry to a machine without network: files, hashes, licences.

Laid out like the cache folder, so that a plain copy installs it and `--cache-dir` uses it in place:

    embedge-offline.json     what is in it, each file with size and SHA-256
    SHA256SUMS               the same for `sha256sum -c`
    sbom.cdx.json            CycloneDX: model, sources, libraries (if one was made)
    README.txt LICENSE NOTICE
    models/NAME/REVISION/PRECISION/...      the bundle
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from embedge.models.bundle import Bundle, open_bundle, scratch_folder
from embedge.models.disk_space import require_space
from embedge.models.durable import fsync_path, new_file
from embedge.models.errors import InvalidOption
from embedge.models.manifest import MANIFEST_NAME, FileEntry, Manifest

INDEX_NAME = "embedge-offline.json"
SUMS_NAME = "SHA256SUMS"
SBOM_NAME = "sbom.cdx.json"
FORMAT = 1

_BLOCK = 1 << 20
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # the same model gives the same zip


@dataclass(frozen=True)
class OfflineCopy:
    """What was written: where, how large, and what the copy is called."""

    path: Path
    name: str
    revision: str
    precision: str
    files: int
    size_bytes: int


def place_of(manifest: Manifest) -> PurePosixPath:
    """Return where the bundle lies in a copy: as in the store."""
    revision = manifest.revision or "local"
    return PurePosixPath("models", manifest.name, revision, manifest.identity.variant)


def write_offline_copy(
    bundle_path: Path, out: Path, *, make_sbom: "Callable[[Bundle], bytes] | None" = None
) -> OfflineCopy:
    """Copy a bundle with everything that its installation needs; whole or not at all.

    Args:
        bundle_path: the bundle; every file is hashed first.
        out: a name ending in `.zip`, or a folder to make.
        make_sbom: gives the bill of materials; None leaves it out.

    Raises:
        InvalidOption: `out` exists already.
        ModelIntegrityError: a file differs from its manifest.
        EmbedgeError: too little space is free.
        OSError: `out` cannot be written.
    """
    if out.exists() or out.is_symlink():
        raise InvalidOption(f"{out} exists already; choose another name or remove it first")
    bundle = open_bundle(bundle_path, verify="full")
    require_space(out.parent, {"copy": bundle.size_bytes})
    sbom = None if make_sbom is None else make_sbom(bundle)
    with (_zip_to if out.suffix == ".zip" else _folder_to)(out) as sink:
        entries = _write_all(bundle, sink, sbom)
    manifest = bundle.manifest
    return OfflineCopy(
        out,
        manifest.name,
        manifest.revision,
        manifest.identity.variant,
        len(entries),
        sum(entry.size for entry in entries.values()),
    )


class _Sink(Protocol):
    """Takes files by their name in the copy."""

    def __call__(self, name: str, source: BinaryIO) -> FileEntry:
        """Write one file and return its size and hash."""


def _write_all(bundle: Bundle, sink: _Sink, sbom: bytes | None) -> dict[str, FileEntry]:
    entries: dict[str, FileEntry] = {}
    place = place_of(bundle.manifest)

    def add(name: str, data: bytes) -> None:
        from io import BytesIO

        entries[name] = sink(name, BytesIO(data))

    for name in (*sorted(bundle.manifest.files), MANIFEST_NAME):
        with (bundle.path / name).open("rb") as file:
            entries[str(place / name)] = sink(str(place / name), file)
    for name in ("LICENSE", "NOTICE"):
        if (bundle.path / name).is_file():
            add(name, (bundle.path / name).read_bytes())
    add("README.txt", _readme(bundle.manifest).encode())
    if sbom is not None:
        add(SBOM_NAME, sbom)
    add(INDEX_NAME, _index(bundle.manifest, entries))
    sums = "".join(f"{entry.sha256}  {name}\n" for name, entry in sorted(entries.items()))
    add(SUMS_NAME, sums.encode())
    return entries


def _index(manifest: Manifest, entries: Mapping[str, FileEntry]) -> bytes:
    space = manifest.space(manifest.identity.variant, manifest.full_dim)
    fields = {
        "format": FORMAT,
        "name": manifest.name,
        "revision": manifest.revision,
        "precision": manifest.identity.variant,
        "license": manifest.license,
        "space": space.fingerprint,
        "bundle": str(place_of(manifest)),
        "files": {name: vars(entry) for name, entry in sorted(entries.items())},
        "sources": [dict(source) for source in manifest.sources],
    }
    return (json.dumps(fields, indent=1, ensure_ascii=False) + "\n").encode()


def _readme(manifest: Manifest) -> str:
    name, place = manifest.name, place_of(manifest)
    return f"""{name}, {manifest.identity.variant}: a model for embedge, to install without network.
Licence: {manifest.license} (LICENSE, NOTICE). Contents with hashes: {INDEX_NAME}, {SUMS_NAME}.

Check:    sha256sum -c {SUMS_NAME}
Install:  embed models pull FOLDER_OR_ZIP
      or  copy the folder `models` into the cache folder (`embed doctor` names it)
      or  use it in place: embed text hi -m FOLDER/{place}
Then:     embed text hi -m {name}
"""


@contextmanager
def _folder_to(out: Path) -> Iterator[_Sink]:
    with scratch_folder(out) as folder:

        def sink(name: str, source: BinaryIO) -> FileEntry:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as target:
                entry = _copy(source, target)
            fsync_path(path)
            return entry

        yield sink
        folder.chmod(0o755)
        os.rename(folder, out)
        fsync_path(out.parent)


@contextmanager
def _zip_to(out: Path) -> Iterator[_Sink]:
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        new_file(out, many_writers=False) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive,
    ):

        def sink(name: str, source: BinaryIO) -> FileEntry:
            info = zipfile.ZipInfo(name, _FIXED_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            with archive.open(info, "w", force_zip64=True) as target:
                return _copy(source, target)

        yield sink


def _copy(source: BinaryIO, target: object) -> FileEntry:
    digest, size = hashlib.sha256(), 0
    while block := source.read(_BLOCK):
        digest.update(block)
        size += len(block)
        target.write(block)  # type: ignore[attr-defined]  # a file, or a member of a zip
    return FileEntry(size, digest.hexdigest())
