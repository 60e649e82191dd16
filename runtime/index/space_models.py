"""Which model made the vectors of a collection, where it lies now, and opening it once."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embedge.models.errors import BundleError, EmbedgeError, ModelNotFound, SpaceMismatch
from embedge.models.manifest import read_manifest
from embedge.models.space import VARIANT_ALIASES, Identity, Space, Variant
from embedge.models.store import default_model, find_model, installed_models
from embedge.runtime.index.rows import SpaceRow

if TYPE_CHECKING:
    from embedge.models.manifest import Manifest
    from embedge.runtime.embedder import Embedder


@dataclass(frozen=True, kw_only=True)
class NewSet:
    """The user's defaults (settings, variables), which say nothing about what exists."""

    model: str | None = None
    variant: str | None = None
    dim: int | None = None


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """What the caller asked for; None everywhere lets each collection use its own model.

    `new_set` is what a new collection gets where nothing was asked for.
    """

    embedder: "Embedder | None" = None
    model: str | None = None
    variant: str | None = None
    dim: int | None = None
    new_set: "NewSet | None" = None
    threads: int | None = None
    cache_dir: Path | None = None


class CollectionModelMissing(ModelNotFound):
    """The model that a collection was embedded with is not on this machine."""


class SpaceModels:
    """Opens models when they are needed, each once, and closes those that it opened."""

    def __init__(self, choice: ModelChoice) -> None:
        self._choice = choice
        self._opened: dict[str, Embedder] = {}  # by digest of the space
        self._lock = threading.RLock()  # searches of several threads open one model once

    def for_new_set(self, model: str | None = None) -> "Embedder":
        """Return the embedder of a new collection, or of the set that one moves to.

        Raises:
            ModelNotFound: the model is not on this machine.
        """
        choice = self._choice
        if choice.embedder is not None and model is None:
            return choice.embedder
        fallback = choice.new_set or NewSet()
        wanted = model or choice.model or fallback.model or default_model()
        variant = choice.variant or fallback.variant or "auto"
        return self._open(wanted, variant, choice.dim or fallback.dim)

    def for_space(self, space: SpaceRow, collection: str, hint: str | None) -> "Embedder":
        """Return the embedder whose vectors compare with those of a collection.

        Args:
            space: of the collection.
            collection: its name, for messages.
            hint: folder in which the model was last seen.

        Raises:
            SpaceMismatch: another model, variant or size was asked for.
            ModelNotFound: the collection's model is not on this machine.
        """
        given = self._choice.embedder
        if given is not None:
            _require_equal(space, given.space, collection)
            return given
        with self._lock:
            if space.digest in self._opened:
                return self._opened[space.digest]
            bundle = self.bundle_of(space, collection, hint)
            return self._open(str(bundle), space.variant, space.dim)

    def bundle_of(self, space: SpaceRow, collection: str, hint: str | None) -> Path:
        """Return the folder of the model of a collection; opens nothing.

        Raises:
            SpaceMismatch, ModelNotFound: as `for_space`.
        """
        choice = self._choice
        found = self._find(space, hint)
        if choice.model is not None:
            asked = find_model(choice.model, cache_dir=choice.cache_dir, variant=space.variant)
            self._check_asked(space, read_manifest(asked), collection)
            return asked
        if choice.variant is not None or choice.dim is not None:
            self._check_asked(space, read_manifest(found) if found else None, collection)
        if found is None:
            raise _missing(space, collection)
        return found

    def check(self, space: SpaceRow, collection: str, hint: str | None) -> None:
        """Refuse another space than the collection's, without opening a model.

        Raises:
            SpaceMismatch: another model, variant or size was asked for.
        """
        choice = self._choice
        if choice.embedder is not None:
            _require_equal(space, choice.embedder.space, collection)
        elif (choice.model, choice.variant, choice.dim) != (None, None, None):
            self.bundle_of(space, collection, hint)

    def is_available(self, space: SpaceRow, hint: str | None) -> bool:
        """Tell whether the model of a space is on this machine."""
        given = self._choice.embedder
        if given is not None and given.space.digest == space.digest:
            return True
        return space.digest in self._opened or self._find(space, hint) is not None

    def close(self) -> None:
        """Close the embedders opened here."""
        for embedder in self._opened.values():
            embedder.close()
        self._opened.clear()

    def _open(self, model: str, variant: str, dim: int | None) -> "Embedder":
        from embedge.runtime.embedder import Embedder

        for opened in self._opened.values():
            if str(opened.loaded.bundle.path) == model and opened.variant == variant:
                if dim == opened.dim:
                    return opened
        embedder = Embedder(
            model,
            variant=variant,
            dim=dim,
            threads=self._choice.threads,
            cache_dir=self._choice.cache_dir,
        )
        known = self._opened.get(embedder.space.digest)
        if known is not None:
            embedder.close()
            return known
        self._opened[embedder.space.digest] = embedder
        return embedder

    def _find(self, space: SpaceRow, hint: str | None) -> Path | None:
        """Return the first bundle on this machine that gives vectors of the space."""
        cache = self._choice.cache_dir
        candidates = [Path(hint)] if hint else []
        for revision in (space.revision, None):
            try:
                candidates.append(find_model(space.model, cache_dir=cache, revision=revision))
            except EmbedgeError:  # not here by that name; the others may be
                continue
        for path in candidates:
            if _gives(path, space):
                return path
        others = (model.path for model in installed_models(cache) if model.manifest is not None)
        return next((path for path in others if _gives(path, space)), None)

    def _check_asked(self, space: SpaceRow, manifest: "Manifest | None", collection: str) -> None:
        choice = self._choice
        variant = space.variant
        if choice.variant not in (None, "auto"):
            variant = VARIANT_ALIASES.get(str(choice.variant), str(choice.variant))
        dim = choice.dim or space.dim
        if manifest is None:  # the model is gone: only what the row says can be compared
            if (variant, dim) != (space.variant, space.dim):
                raise SpaceMismatch(
                    f"collection {collection!r} holds {space.fingerprint}: {space.variant} with "
                    f"{space.dim} numbers, not {variant} with {dim}. {_repair(collection)}"
                )
            return
        held = manifest.variants()
        chosen: Variant = next((each for each in held if each == variant), held[0])
        asked = manifest.space(chosen, min(dim, manifest.full_dim))
        _require_equal(space, asked, collection)


def as_space(space: SpaceRow) -> Space:
    """Return a row as the space it describes."""
    identity = Identity(**space.identity)  # type: ignore[arg-type]  # written from an Identity
    return Space(identity, space.fingerprint.rpartition("-")[0])


def _require_equal(space: SpaceRow, asked: Space, collection: str) -> None:
    if asked.digest != space.digest:
        where = f"Collection {collection!r} holds {space.fingerprint}. "
        as_space(space).require_equal(asked, where + _repair(collection))


def _repair(collection: str) -> str:
    return f"Leave the model out, or move it with `embed index update -C {collection} --to MODEL`."


def _missing(space: SpaceRow, collection: str) -> CollectionModelMissing:
    return CollectionModelMissing(
        f"collection {collection!r} was embedded with {space.model} revision {space.revision} "
        f"({space.fingerprint}), which is not on this machine. Search by words works "
        f"(--mode text); embed it with another model with "
        f"`embed index update -C {collection} --to bundled`."
    )


def _gives(path: Path, space: SpaceRow) -> bool:
    try:
        manifest = read_manifest(path)
    except BundleError:
        return False
    variant: Variant | None = next((v for v in manifest.variants() if v == space.variant), None)
    if variant is None or space.dim > manifest.full_dim:
        return False
    return manifest.space(variant, space.dim).digest == space.digest
