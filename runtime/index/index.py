"""`Index`: the public face of the folder index."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from embedge.models.errors import InvalidOption
from embedge.runtime.cancel import CancelToken
from embedge.runtime.index.connection import (
    connect_writer,
    damage_named,
    default_path,
    is_outdated,
)
from embedge.runtime.index.folder_runs import (
    Confirm,
    Move,
    NewFolder,
    Watch,
    add_folder,
    plan_update,
    undone_unless_kept,
    update_collections,
)
from embedge.runtime.index.garbage import collect_garbage
from embedge.runtime.index.locking import writer_lock
from embedge.runtime.index.pool import Readers, no_index
from embedge.runtime.index.removal import remove
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
from embedge.runtime.index.rows import Selection, find_collections
from embedge.runtime.index.runs import logged_run
from embedge.runtime.index.search import SearchRequest, search
from embedge.runtime.index.space_models import ModelChoice, NewSet, SpaceModels
from embedge.runtime.index.status import list_files, read_status
from embedge.runtime.index.vector_search import VectorSearch
from embedge.runtime.index.verify import verify_index
from embedge.runtime.progress import ProgressCallback

if TYPE_CHECKING:
    from embedge.runtime.embedder import Embedder


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
    new_set: NewSet | None = None,
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
        new_set: model, variant and size of new collections, where the three above say nothing.

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
        new_set=new_set,
    )


class Index:
    """An open index; a context manager. Use `open_index`.

    Attributes:
        path: of the database file.
        readonly: nothing is written.
        models: opens the models of the collections.
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
        new_set: NewSet | None = None,
    ) -> None:
        """Take the arguments of `open_index`; `path` is absolute."""
        self.path = path
        self.readonly = readonly
        self.models = SpaceModels(
            ModelChoice(
                embedder=embedder,
                model=model,
                variant=variant,
                dim=dim,
                threads=threads,
                cache_dir=Path(cache_dir) if cache_dir is not None else None,
                new_set=new_set,
            )
        )
        self._readers = Readers(path)
        self._vectors = VectorSearch(path, writable=not readonly, threads=threads)
        if readonly:
            with self._readers.borrow():  # says at once what is wrong with the file
                pass
        elif path.exists() and is_outdated(path):
            with self.writing():
                pass

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close files and the models that the index opened itself."""
        self._readers.close()
        self.models.close()

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
        folder = _absolute(path)
        if not os.path.isdir(folder):
            raise InvalidOption(
                f"{path} is no folder; name one, and choose files in it with --include"
            )
        watch = Watch(confirm=confirm, progress=progress, cancel=cancel or CancelToken())
        with self.writing(create=True) as connection:
            wanted = NewFolder(
                path=folder,
                collection=collection,
                selection=selection,
                replaces=None if replaces is None else _absolute(replaces),
                cut=Move(max_tokens=max_tokens, overlap=overlap),
            )
            report = add_folder(connection, self.models, wanted, watch)
            self._vectors.refresh(connection, watch.cancel)
        return report

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
        watch = Watch(confirm=confirm, progress=progress, cancel=cancel or CancelToken())
        with self.writing() as connection:
            report = update_collections(
                connection,
                self.models,
                collections,
                move=Move(to=to, max_tokens=max_tokens, overlap=overlap),
                rescan=rescan,
                accept_empty=[_absolute(each) for each in accept_empty],
                watch=watch,
            )
            self._vectors.refresh(connection, watch.cancel)
        return report

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
        move = Move(to=to, max_tokens=max_tokens, overlap=overlap)
        watch = Watch(progress=progress, cancel=cancel or CancelToken())
        with self._readers.borrow() as connection:
            return plan_update(connection, self.models, collections, move, watch)

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
        request = SearchRequest(
            query=query,
            limit=limit,
            mode=mode,
            collections=collections,
            min_score=min_score,
            path=path,
            explain=explain,
        )
        with self._readers.borrow() as connection:
            return search(connection, self.models, self._vectors, request)

    def status(self, *, errors: bool = False) -> IndexStatus:
        """Say what the index holds; `errors` lists the files that could not be read."""
        with self._readers.borrow() as connection:
            return read_status(connection, self.path, self.models, errors=errors)

    def ls(self, collections: Sequence[str] | None = None) -> list[FileEntry]:
        """List the files of collections by path."""
        with self._readers.borrow() as connection:
            return list_files(connection, find_collections(connection, collections))

    def collections(self) -> list[str]:
        """Return the names of all collections."""
        with self._readers.borrow() as connection:
            return [each.name for each in find_collections(connection)]

    def remove(self, name_or_path: str | Path) -> int:
        """Remove a collection, or a folder or file; vectors stay until `gc`.

        Returns:
            The number of files that are gone.

        Raises:
            InvalidOption: the index knows neither.
        """
        with self.writing() as connection, logged_run(connection, "rm"):
            return remove(connection, str(name_or_path))

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
        with self.writing() as connection, undone_unless_kept(connection):
            return verify_index(
                connection,
                self.models,
                deep=deep,
                progress=progress,
                cancel=cancel or CancelToken(),
            )

    def gc(self, *, grace_days: float = 30.0, dry_run: bool = False) -> GcReport:
        """Remove vectors without text and files missing for longer than the grace time."""
        with self.writing() as connection, ExitStack() as log:
            if not dry_run:
                log.enter_context(logged_run(connection, "gc"))
            return collect_garbage(connection, self.path, grace_days=grace_days, dry_run=dry_run)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a read-only connection, for reports that this class does not have."""
        with self._readers.borrow() as connection:
            yield connection

    @contextmanager
    def writing(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        """Be the one writer; a missing index is made by `add`, and refused by everything else."""
        if not create and not self.path.exists():
            raise no_index(self.path)
        if self.readonly:
            raise InvalidOption(f"{self.path} was opened read-only; open it without `readonly`")
        with writer_lock(self.path):
            connection = connect_writer(self.path)
            try:
                with damage_named(self.path):
                    yield connection
            finally:
                connection.close()


def _absolute(path: str | Path) -> str:
    return os.path.abspath(os.path.expanduser(path))
