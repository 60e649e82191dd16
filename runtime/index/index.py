"""`Index`: the public face of the folder index."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from embedge.runtime.cancel import CancelToken
from embedge.runtime.index.connection import default_path
from embedge.runtime.index.results import (
    FileEntry,
    GcReport,
    Hit,
    IndexStatus,
    Mode,
    Plan,
    UpdateReport,
    VerifyReport,
)
from embedge.runtime.index.rows import Selection
from embedge.runtime.progress import ProgressCallback

if TYPE_CHECKING:
    from embedge.runtime.embedder import Embedder

Confirm = Callable[[Plan], bool]
"""Shown a plan, says whether to go on; asked only when much would be embedded."""


def open_index(
    path: str | Path | None = None,
    *,
    embedder: "Embedder | None" = None,
    readonly: bool = False,
    model: str | None = None,
    variant: str | None = None,
    dim: int | None = None,
    threads: int | None = None,
    cache_dir: str | Path | None = None,
) -> "Index":
    """Open an index, or name one that `add` will make.

    Any number of threads and processes may search while one writes.

    Args:
        path: the database file; the user's index by default.
        embedder: used for every collection, and left open at the end.
        readonly: nothing is ever written, also no cache beside the file.
        model: for every collection; without it each uses the model it was made with, and a new
            one the default model.
        variant: numeric form, as in `Embedder`.
        dim: length of the vectors.
        threads: for embedding and scanning.
        cache_dir: the model store.

    Raises:
        IndexDamaged: the file is no index, is damaged, or comes from a newer version.
        FileNotFoundError: `readonly` and there is none.
    """
    return Index(
        Path(path).expanduser().absolute() if path is not None else default_path(),
        embedder=embedder,
        readonly=readonly,
        model=model,
        variant=variant,
        dim=dim,
        threads=threads,
        cache_dir=cache_dir,
    )


class Index:
    """An open index; a context manager. Use `open_index`.

    Attributes:
        path: of the database file.
        readonly: nothing is written.
    """

    def __init__(
        self,
        path: Path,
        *,
        embedder: "Embedder | None" = None,
        readonly: bool = False,
        model: str | None = None,
        variant: str | None = None,
        dim: int | None = None,
        threads: int | None = None,
        cache_dir: str | Path | None = None,
    ) -> None:
        """Take the arguments of `open_index`; `path` is absolute."""
        self.path = path
        self.readonly = readonly
        self._given = (embedder, model, variant, dim, threads, cache_dir)

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close files and the models that the index opened itself."""

    def add(
        self,
        path: str | Path,
        collection: str | None = None,
        *,
        selection: Selection | None = None,
        replaces: str | Path | None = None,
        max_tokens: int | None = None,
        overlap: int | None = None,
        confirm: Confirm | None = None,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> UpdateReport:
        """Take a folder into a collection and index it.

        Args:
            path: the folder.
            collection: made if there is none of that name; the folder's name by default.
            selection: which of its files.
            replaces: a folder of the index that lies at `path` now; nothing is embedded again.
            max_tokens: longest passage, prefix and special tokens included.
            overlap: tokens that a passage repeats from the one before, 64 by default.
            confirm: asked with a plan when more than 2,000 passages or 10 minutes would be
                embedded. Without it such a run is refused.
            progress: called with ProgressEvents on this thread.
            cancel: ends the run; what was finished is kept.

        Raises:
            InvalidOption: no such folder, or consent is missing.
            SpaceMismatch: the collection has vectors of another model than the one asked for.
            IndexLocked: another process writes.
            ModelNotFound: the model is not on this machine.
            Cancelled: the token was used.
        """
        raise NotImplementedError

    def update(
        self,
        collections: Sequence[str] | None = None,
        *,
        to: str | None = None,
        max_tokens: int | None = None,
        overlap: int | None = None,
        rescan: bool = False,
        accept_empty: Sequence[str | Path] = (),
        confirm: Confirm | None = None,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> UpdateReport:
        """Look for changes and embed them; what was embedded once is not embedded again.

        Args:
            collections: names; all of them by default.
            to: move the collections to this model (with `variant` and `dim` of `open_index`). The
                old vectors serve until the new set is complete and stay until `gc`.
            max_tokens: cut anew; also a second set.
            overlap: as `max_tokens`.
            rescan: hash every file, whatever size and time say.
            accept_empty: folders that were really emptied.
            confirm: as in `add`; asked only with `to`, `max_tokens` or `overlap`.
            progress: as in `add`.
            cancel: as in `add`.

        Raises:
            As `add`.
        """
        raise NotImplementedError

    def plan(
        self,
        collections: Sequence[str] | None = None,
        *,
        to: str | None = None,
        max_tokens: int | None = None,
        overlap: int | None = None,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> Plan:
        """Say what `update` with the same arguments would do; writes nothing."""
        raise NotImplementedError

    def search(
        self,
        query: str,
        *,
        limit: int | None = 10,
        mode: Mode = "hybrid",
        collections: Sequence[str] | None = None,
        min_score: float | None = None,
        path: str | None = None,
        explain: bool = False,
    ) -> list[Hit]:
        """Find passages.

        Args:
            query: in any language; never read as a query language.
            limit: most hits; None gives all that were found.
            mode: `hybrid` fuses both lists; `vector` is by meaning, `text` by words and needs no
                model.
            collections: names; all of them by default.
            min_score: least cosine, applied to every hit.
            path: only files that match this pattern, as in gitignore.
            explain: fill `Hit.explain`.

        Raises:
            InvalidOption: no such collection or mode.
            ModelNotFound: mode `vector`, and the model of a collection is gone; `hybrid` warns
                and goes on with words.
            SpaceMismatch: opened with a model of another space.
        """
        raise NotImplementedError

    def status(self, *, errors: bool = False) -> IndexStatus:
        """Say what the index holds; `errors` lists the files that could not be read."""
        raise NotImplementedError

    def ls(self, collections: Sequence[str] | None = None) -> list[FileEntry]:
        """List the files of collections by path."""
        raise NotImplementedError

    def collections(self) -> list[str]:
        """Return the names of all collections."""
        raise NotImplementedError

    def remove(self, name_or_path: str | Path) -> int:
        """Remove a collection, or a folder or file; vectors stay until `gc`.

        Returns:
            The number of files that are gone.

        Raises:
            InvalidOption: the index knows neither.
        """
        raise NotImplementedError

    def verify(
        self,
        *,
        deep: bool = False,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> VerifyReport:
        """Check SQLite's, the full text's and our own consistency.

        Args:
            deep: embed a sample again and compare.
            progress: as in `add`.
            cancel: as in `add`.
        """
        raise NotImplementedError

    def gc(self, *, grace_days: float = 30.0, dry_run: bool = False) -> GcReport:
        """Remove vectors without text and files missing for longer than the grace time."""
        raise NotImplementedError
