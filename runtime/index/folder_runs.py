"""The three ways into a run: take a folder in, look for changes, move to another model."""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from embedge.models.errors import Cancelled, InvalidOption
from embedge.runtime.cancel import CancelToken
from embedge.runtime.index.plan import make_plan
from embedge.runtime.index.results import Plan, UpdateReport
from embedge.runtime.index.rows import (
    CollectionRow,
    RootRow,
    Selection,
    ensure_root,
    find_collections,
    link_root,
    make_collection,
    roots_of,
)
from embedge.runtime.index.scan import Scan, Wanted, scan
from embedge.runtime.index.space_models import SpaceModels
from embedge.runtime.index.targets import (
    Target,
    begin_move,
    chunker_of,
    current_target,
    new_target,
    remembered_bundle,
    save_rows,
)
from embedge.runtime.index.update import Job, run_update
from embedge.runtime.progress import ProgressCallback

if TYPE_CHECKING:
    from embedge.runtime.embedder import Embedder

Confirm = Callable[[Plan], bool] | Literal[True]
"""Shown a plan, says whether to go on; True says yes to everything, and no plan is made."""


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Who is asked, told, and may stop a run."""

    confirm: Confirm | None = None
    progress: ProgressCallback | None = None
    cancel: CancelToken


@dataclass(frozen=True, kw_only=True)
class Move:
    """What a collection changes to; None everywhere: nothing."""

    to: str | None = None
    max_tokens: int | None = None
    overlap: int | None = None

    def __bool__(self) -> bool:
        return (self.to, self.max_tokens, self.overlap) != (None, None, None)


@dataclass(frozen=True, kw_only=True)
class NewFolder:
    """A folder to take in; paths are absolute, the rest as in `Index.add`."""

    path: str
    collection: str | None = None
    selection: Selection | None = None
    replaces: str | None = None
    cut: Move = Move()


def add_folder(
    connection: sqlite3.Connection, models: SpaceModels, folder: NewFolder, watch: Watch
) -> UpdateReport:
    """Take a folder into a collection and index it; see `Index.add`."""
    with undone_unless_kept(connection) as keep:
        if folder.replaces is not None:
            jobs = _replace_root(connection, models, folder.replaces, folder.path)
        else:
            jobs = [_job_of_folder(connection, models, folder)]
        found = _scan(connection, jobs, watch)
        _ask(connection, models, jobs, found, watch)
        keep()
    return run_update(
        connection, models, jobs, found,
        kind="add", progress=watch.progress, cancel=watch.cancel,
    )  # fmt: skip


def update_collections(
    connection: sqlite3.Connection,
    models: SpaceModels,
    names: Sequence[str] | None,
    *,
    watch: Watch,
    move: Move = Move(),
    rescan: bool = False,
    accept_empty: Sequence[str] = (),
) -> UpdateReport:
    """Look for changes and embed them; see `Index.update`."""
    collections = find_collections(connection, names)
    _check_roots(connection, accept_empty)
    if not move:
        jobs = [Job(each, current_target(connection, each)) for each in collections]
        _check_spaces(connection, models, jobs)
        found = _scan(connection, jobs, watch, rescan=rescan, accept_empty=accept_empty)
    else:
        with undone_unless_kept(connection) as keep:
            jobs = [_moving_job(connection, models, each, move) for each in collections]
            found = _scan(connection, jobs, watch, rescan=rescan, accept_empty=accept_empty)
            _ask(connection, models, jobs, found, watch)
            keep()
    return run_update(
        connection, models, jobs, found,
        kind="update", progress=watch.progress, cancel=watch.cancel,
    )  # fmt: skip


def take_in(
    connection: sqlite3.Connection,
    models: SpaceModels,
    write: Callable[[], Sequence[str]],
    *,
    kind: str,
    watch: Watch,
) -> UpdateReport:
    """Make collections in one go and index them, or leave the index as it was.

    Args:
        connection: a writer's.
        models: open the embedders.
        write: makes collections with their folders, and returns their names.
        kind: of the run, for the log.
        watch: asked before much is embedded.

    Raises:
        As `Index.add`.
    """
    with undone_unless_kept(connection) as keep:
        collections = find_collections(connection, write())
        jobs = [Job(each, current_target(connection, each)) for each in collections]
        found = _scan(connection, jobs, watch)
        _ask(connection, models, jobs, found, watch)
        keep()
    return run_update(
        connection, models, jobs, found,
        kind=kind, progress=watch.progress, cancel=watch.cancel,
    )  # fmt: skip


def plan_update(
    connection: sqlite3.Connection,
    models: SpaceModels,
    names: Sequence[str] | None,
    move: Move,
    watch: Watch,
) -> Plan:
    """Say what an update would do; `connection` may be a reader's."""
    collections = find_collections(connection, names)
    jobs = []
    for collection in collections:
        target = current_target(connection, collection)
        if move:
            target, _ = _moved_target(connection, models, collection, move)
        jobs.append(Job(collection, target))
    if not move:
        _check_spaces(connection, models, jobs)
    found = _scan(connection, jobs, watch)
    return make_plan(connection, models, jobs, found, progress=watch.progress, cancel=watch.cancel)


@contextmanager
def undone_unless_kept(connection: sqlite3.Connection) -> Iterator[Callable[[], None]]:
    """Write within the block, and forget all of it unless the given function was called."""
    kept = False

    def keep() -> None:
        nonlocal kept
        connection.execute("COMMIT")
        kept = True

    connection.execute("BEGIN IMMEDIATE")
    try:
        yield keep
    finally:
        if not kept and connection.in_transaction:
            connection.execute("ROLLBACK")


def _job_of_folder(connection: sqlite3.Connection, models: SpaceModels, folder: NewFolder) -> Job:
    chosen = folder.collection or _free_name(connection, folder.path)
    existing = {each.name: each for each in find_collections(connection)}.get(chosen)
    if existing is not None:
        if folder.cut:
            raise InvalidOption(
                f"collection {chosen!r} is there already; change how it is cut with "
                f"`embed index update -C {chosen} --max-tokens N --overlap N`"
            )
        target = current_target(connection, existing)
        models.check(target.space, chosen, remembered_bundle(connection, target.space))
        job = Job(existing, target)
    else:
        job = _new_collection(connection, models, chosen, folder.cut)
    root = ensure_root(connection, folder.path)
    linked = {each.id for each, _ in roots_of(connection, job.collection.id)}
    if root.id not in linked or folder.selection is not None:
        link_root(connection, job.collection.id, root.id, folder.selection or Selection())
    return job


def _new_collection(
    connection: sqlite3.Connection, models: SpaceModels, name: str, move: Move
) -> Job:
    embedder = models.for_new_set()
    target = new_target(connection, embedder, max_tokens=move.max_tokens, overlap=move.overlap)
    target = save_rows(connection, target, embedder)
    chunker = chunker_of(connection, target)
    collection = make_collection(connection, name, target.space, chunker)
    return Job(collection, current_target(connection, collection))


def _free_name(connection: sqlite3.Connection, folder: str) -> str:
    """Return the folder's name, with a number if a collection of other folders has it."""
    wanted = os.path.basename(folder.rstrip(os.sep)) or folder
    taken = {each.name: each for each in find_collections(connection)}
    name, number = wanted, 1
    while name in taken:
        if any(root.path == folder for root, _ in roots_of(connection, taken[name].id)):
            return name
        number += 1
        name = f"{wanted} ({number})"
    return name


def _replace_root(
    connection: sqlite3.Connection, models: SpaceModels, old: str, new: str
) -> list[Job]:
    """Let a root lie elsewhere; relative paths keep everything."""
    known = {path for (path,) in connection.execute("SELECT path FROM roots")}
    if old not in known:
        raise InvalidOption(
            f"--replaces {old} is no folder of this index; see `embed index status`"
        )
    if new in known:
        raise InvalidOption(f"{new} is in this index already; remove one with `embed index rm`")
    connection.execute(
        "UPDATE roots SET path = ?, volume_id = NULL, state = 'online' WHERE path = ?", (new, old)
    )
    names = connection.execute(
        "SELECT co.name FROM collections co JOIN collection_roots cr ON cr.collection_id = co.id"
        " JOIN roots r ON r.id = cr.root_id WHERE r.path = ?",
        (new,),
    )
    collections = find_collections(connection, [name for (name,) in names])
    jobs = [Job(each, current_target(connection, each)) for each in collections]
    _check_spaces(connection, models, jobs)
    return jobs


def _moved_target(
    connection: sqlite3.Connection, models: SpaceModels, collection: CollectionRow, move: Move
) -> "tuple[Target, Embedder]":
    """Return the target, whose rows may not be there yet, and what embeds for it."""
    current = current_target(connection, collection)
    if move.to is not None:
        embedder = models.for_new_set(move.to)
    else:
        hint = remembered_bundle(connection, current.space)
        embedder = models.for_space(current.space, collection.name, hint)
    target = new_target(
        connection,
        embedder,
        base=current.spec,
        max_tokens=move.max_tokens,
        overlap=move.overlap,
    )
    return target, embedder


def _moving_job(
    connection: sqlite3.Connection, models: SpaceModels, collection: CollectionRow, move: Move
) -> Job:
    target = save_rows(connection, *_moved_target(connection, models, collection, move))
    begin_move(connection, collection, target)
    return Job(collection, current_target(connection, collection))


def _check_spaces(connection: sqlite3.Connection, models: SpaceModels, jobs: Sequence[Job]) -> None:
    for job in jobs:
        space = job.target.space
        models.check(space, job.collection.name, remembered_bundle(connection, space))


def _check_roots(connection: sqlite3.Connection, paths: Sequence[str]) -> None:
    known = {path for (path,) in connection.execute("SELECT path FROM roots")}
    unknown = [path for path in paths if path not in known]
    if unknown:
        raise InvalidOption(
            f"--accept-empty {unknown[0]} is no folder of this index; see `embed index status`"
        )


def _scan(
    connection: sqlite3.Connection,
    jobs: Sequence[Job],
    watch: Watch,
    *,
    rescan: bool = False,
    accept_empty: Sequence[str] = (),
) -> Scan:
    return scan(
        connection,
        wanted_roots(connection, [job.collection for job in jobs]),
        cancel=watch.cancel,
        rescan=rescan,
        accept_empty=accept_empty,
    )


def wanted_roots(connection: sqlite3.Connection, collections: Sequence[CollectionRow]) -> Wanted:
    """Return every root of the collections with what each takes of it."""
    wanted: dict[RootRow, list[tuple[int, Selection]]] = {}
    for collection in collections:
        for root, selection in roots_of(connection, collection.id):
            if root.state != "removed":
                wanted.setdefault(root, []).append((collection.id, selection))
    return wanted


def _ask(
    connection: sqlite3.Connection,
    models: SpaceModels,
    jobs: Sequence[Job],
    found: Scan,
    watch: Watch,
) -> None:
    """Make a plan, and stop here if it needs a yes that does not come.

    Raises:
        InvalidOption: nobody can be asked.
        Cancelled: the answer was no.
    """
    if watch.confirm is True:
        return
    # Without progress: a run reports itself once, from its first file to its last passage.
    plan = make_plan(connection, models, jobs, found, cancel=watch.cancel)
    if not plan.needs_consent:
        return
    minutes = f", about {plan.seconds / 60:.0f} minutes" if plan.seconds else ""
    what = f"{plan.to_embed:,} passages{minutes} of embedding"
    if watch.confirm is None:
        raise InvalidOption(
            f"this needs a yes: {what}. Nothing was written; look with `embed index plan`, or "
            "say --yes (in Python: confirm=True)"
        )
    if not watch.confirm(plan):
        raise Cancelled(f"nothing was written: {what} was declined")
