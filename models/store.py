"""Names of models and where they lie: bundled in the package, pulled into the store, or a path."""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from embedge.models.bundle import remove_bundle, remove_leftovers
from embedge.models.errors import BundleError, InvalidOption, ModelNotFound
from embedge.models.manifest import MANIFEST_NAME, Manifest, read_manifest
from embedge.models.places import cache_dir as cache_dir
from embedge.models.places import change_settings, read_settings
from embedge.models.places import data_dir as data_dir

BUNDLED = "bundled"
"""Alias of the model that the package ships, and the default."""

Precision = Literal["fp32", "int8"]
PRECISIONS: tuple[Precision, ...] = ("int8", "fp32")
"""In the order of preference where the caller does not say."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class InstalledModel:
    """One bundle on this machine.

    Attributes:
        manifest: None when the folder is damaged; `problem` then says how.
        is_bundled: it ships in the package and cannot be removed.
    """

    name: str
    revision: str
    precision: str
    path: Path
    is_bundled: bool
    manifest: Manifest | None
    problem: str | None = None

    @property
    def reference(self) -> str:
        """`name@precision`, as the commands take it."""
        return f"{self.name}@{self.precision}"


def models_dir(cache_dir: Path | None = None) -> Path:
    """Return the store: `models` in the given or the user's cache folder."""
    return _cache_root(cache_dir) / "models"


def bundled_bundles() -> dict[str, Path]:
    """Return name and folder of every model that the package ships."""
    package = Path(str(files("embedge.models")))
    found = (path.parent for path in package.glob(f"*/{MANIFEST_NAME}"))
    return {folder.name.replace("_", "-"): folder for folder in sorted(found)}


def default_model() -> str:
    """Return the model that `embed models use` chose, else `bundled`.

    Raises:
        InvalidOption: the settings file is damaged.
    """
    chosen = read_settings().get("model")
    return chosen if isinstance(chosen, str) and chosen else BUNDLED


def use_model(name: str, *, cache_dir: Path | None = None) -> None:
    """Make `name` the default; `bundled` restores the built-in one.

    Raises:
        ModelNotFound: there is no such model here.
        InvalidOption: the settings file is damaged.
    """
    path = find_model(name, cache_dir=cache_dir)
    if name == BUNDLED:
        change_settings(model=None)
    else:
        is_folder = _is_path(name) or path == Path(name)
        change_settings(model=str(path.absolute()) if is_folder else name)


def find_model(
    name_or_path: str,
    *,
    cache_dir: Path | None = None,
    revision: str | None = None,
    variant: str | None = None,
) -> Path:
    """Return the folder of a bundle; never downloads.

    Args:
        name_or_path: `bundled`, a bundled name, a name in the store, either with `@fp32` or
            `@int8`, or the path of a bundle folder.
        cache_dir: the cache folder; None is the user's.
        revision: a revision, or the beginning of one; None takes the newest installed.
        variant: which variant will run, so that `fp32` finds the fp32 bundle; a precision in the
            name wins. Without either, int8 is preferred.

    Raises:
        ModelNotFound: there is no such model on this machine; names `embed models pull`.
    """
    bundled = bundled_bundles()
    if name_or_path == BUNDLED:
        if not bundled:
            raise ModelNotFound(
                "this installation ships no model. Get one with "
                "`embed models pull nomic-embed-text-v2-moe`, or install embedge again."
            )
        return next(iter(bundled.values()))
    if _is_path(name_or_path):
        return _path_of(name_or_path, cache_dir, variant)
    name, precision = _split(name_or_path)
    found = bundled.get(name)
    if found is not None and revision is None and _holds(found, precision):
        return found
    matching = [
        entry
        for entry in _stored(models_dir(cache_dir))
        if entry.name == name
        and precision in (None, entry.precision)
        and entry.revision.startswith(revision or "")
    ]
    if not matching and (Path(name_or_path) / MANIFEST_NAME).is_file():
        return Path(name_or_path)  # a folder beside us; known names come first
    if not matching:
        raise _not_found(name_or_path, revision, cache_dir)
    return max(matching, key=lambda entry: _preference(entry, variant)).path


def installed_models(cache_dir: Path | None = None) -> list[InstalledModel]:
    """List bundled models first, then the store by name, revision and precision.

    Damaged bundles are listed too, with their problem.
    """
    bundled = [
        _describe(_Entry(name, "", "", folder), is_bundled=True)
        for name, folder in bundled_bundles().items()
    ]
    stored = [_describe(entry, is_bundled=False) for entry in _stored(models_dir(cache_dir))]
    return bundled + sorted(stored, key=lambda m: (m.name, m.revision, m.precision))


def store_path(
    name: str, revision: str, precision: Precision, *, cache_dir: Path | None = None
) -> Path:
    """Return where a model belongs in the store: `name/revision/precision`."""
    return models_dir(cache_dir) / name / revision / precision


def stored_paths(name: str, *, cache_dir: Path | None = None) -> list[Path]:
    """Return every stored bundle of `name` or `name@precision`: what `remove_model` removes.

    Raises:
        ModelNotFound: the store holds no such model.
        InvalidOption: the model ships in the package, or `name` is a path.
    """
    if _is_path(name):
        raise InvalidOption(f"{name} is a path; `rm` removes models of the store by their name")
    wanted, precision = _split(name)
    found = [
        entry.path
        for entry in _stored(models_dir(cache_dir))
        if entry.name == wanted and precision in (None, entry.precision)
    ]
    if not found and (wanted == BUNDLED or wanted in bundled_bundles()):
        raise InvalidOption(f"{wanted} ships in the package and cannot be removed")
    if not found:
        raise _not_found(name, None, cache_dir)
    return found


def remove_model(name: str, *, cache_dir: Path | None = None) -> list[Path]:
    """Remove the bundles of `stored_paths`; return the removed folders.

    If the default model was among them, the bundled one is the default again.

    Raises:
        ModelNotFound, InvalidOption: as `stored_paths`.
        OSError: a folder cannot be removed.
    """
    default_path = _path_or_none(default_model(), cache_dir)
    doomed = stored_paths(name, cache_dir=cache_dir)
    for path in doomed:
        remove_bundle(path)
        for folder in (path.parent, path.parent.parent):
            with contextlib.suppress(OSError):  # not empty: other revisions or precisions
                folder.rmdir()
    if default_path in doomed and _path_or_none(default_model(), cache_dir) is None:
        change_settings(model=None)
    return doomed


def clean_store(cache_dir: Path | None = None) -> list[Path]:
    """Remove what killed processes left half-written in the store; return what was removed."""
    folders = sorted(models_dir(cache_dir).glob("*/*"))
    return [path for folder in folders if folder.is_dir() for path in remove_leftovers(folder)]


@dataclass(frozen=True)
class _Entry:
    name: str
    revision: str
    precision: str
    path: Path


def _stored(root: Path) -> Iterator[_Entry]:
    for manifest in root.glob(f"*/*/*/{MANIFEST_NAME}"):
        path = manifest.parent
        name, revision, precision = path.relative_to(root).parts
        if not any(part.startswith(".") for part in (name, revision, precision)):
            yield _Entry(name, revision, precision, path)


def _describe(entry: _Entry, *, is_bundled: bool) -> InstalledModel:
    try:
        manifest = read_manifest(entry.path)
    except BundleError as error:
        return InstalledModel(
            entry.name, entry.revision, entry.precision, entry.path, is_bundled, None, str(error)
        )
    return InstalledModel(
        entry.name,
        entry.revision or manifest.revision,
        entry.precision or manifest.identity.variant,
        entry.path,
        is_bundled,
        manifest,
    )


def _path_or_none(name: str, cache_dir: Path | None) -> Path | None:
    try:
        return find_model(name, cache_dir=cache_dir)
    except ModelNotFound:
        return None


def _cache_root(chosen: Path | None) -> Path:
    return cache_dir() if chosen is None else chosen.expanduser().absolute()


def _is_path(name: str) -> bool:
    separators = {os.sep, os.altsep or os.sep, "/"}
    return name in (".", "..", "~") or any(separator in name for separator in separators)


def _path_of(name: str, cache_dir: Path | None, variant: str | None) -> Path:
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if _HUB_ID.fullmatch(name):  # `org/name`, as other tools name models
        return find_model(name.partition("/")[2], cache_dir=cache_dir, variant=variant)
    raise ModelNotFound(f"{name} is no folder. Give the folder of a bundle, or a model name.")


def _split(reference: str) -> tuple[str, str | None]:
    name, at, precision = reference.partition("@")
    if at and precision not in PRECISIONS:
        raise InvalidOption(
            f"{reference}: {precision!r} is no precision; write {name}@int8 or {name}@fp32"
        )
    return name, precision or None


def _holds(folder: Path, precision: str | None) -> bool:
    return precision is None or read_manifest(folder).identity.variant == precision


def _preference(entry: _Entry, variant: str | None) -> tuple[bool, bool, int]:
    wanted = "fp32" if variant == "fp32" else "int8"
    manifest_time = (entry.path / MANIFEST_NAME).stat().st_mtime_ns
    return entry.precision == wanted, entry.precision == "int8", manifest_time


def _not_found(reference: str, revision: str | None, cache_dir: Path | None) -> ModelNotFound:
    here = [*bundled_bundles(), *sorted({e.name for e in _stored(models_dir(cache_dir))})]
    of_revision = f" (revision {revision})" if revision else ""
    name = reference.partition("@")[0]
    # Only a model that is missing needs the download's imports (sockets among them).
    from embedge.models.hub import KNOWN_MODELS

    wanted = name if name in KNOWN_MODELS else "MAKER/MODEL"
    return ModelNotFound(
        f"the model {reference!r}{of_revision} is not on this machine; here are "
        f"{', '.join(here) or 'none'}. Get it with `embed models pull {wanted}`."
    )
