"""What the index holds, in numbers, and what each file is worth knowing for."""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from embedge.models.errors import EmbedgeError
from embedge.runtime.index.approximate import read_recall
from embedge.runtime.index.connection import SCHEMA_VERSION, uses_wal
from embedge.runtime.index.embedding import find_pending
from embedge.runtime.index.live import CHUNKER_OF_FILE, LIVE_CHUNKS
from embedge.runtime.index.reading import shown_path
from embedge.runtime.index.results import (
    CollectionStatus,
    FileEntry,
    IndexStatus,
    RootStatus,
)
from embedge.runtime.index.rows import (
    CollectionRow,
    all_spaces,
    find_collections,
    roots_of,
)
from embedge.runtime.index.runs import last_run
from embedge.runtime.index.settled import is_settled
from embedge.runtime.index.space_models import SpaceModels
from embedge.runtime.index.targets import current_target, remembered_bundle


def read_status(
    connection: sqlite3.Connection,
    database: Path,
    models: SpaceModels,
    *,
    errors: bool,
) -> IndexStatus:
    """Count everything; opens no model."""
    collections = find_collections(connection)
    n_vectors, n_orphans = (
        int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        for table in ("vectors", "orphans")
    )
    failed = []
    if errors:
        entries = list_files(connection, collections)
        failed = [entry for entry in entries if entry.state in ("error", "skipped")]
    return IndexStatus(
        path=str(database),
        size_bytes=database.stat().st_size,
        schema=SCHEMA_VERSION,
        journal="wal" if uses_wal(connection) else "delete",
        vectors=n_vectors,
        orphans=n_orphans,
        collections=tuple(_collection(connection, each, models) for each in collections),
        last_run=last_run(connection),
        errors=tuple(failed),
        recall=_recalls(connection),
    )


def _recalls(connection: sqlite3.Connection) -> Mapping[str, float]:
    """Return the measured recall of each approximate search that is in use."""
    found = {space.fingerprint: read_recall(connection, space) for space in all_spaces(connection)}
    return {name: recall for name, recall in found.items() if recall is not None}


def _collection(
    connection: sqlite3.Connection, collection: CollectionRow, models: SpaceModels
) -> CollectionStatus:
    space = collection.space
    target = current_target(connection, collection)
    problem = None
    hint = remembered_bundle(connection, space)
    if not models.is_available(space, hint):
        try:
            models.bundle_of(space, collection.name, hint)
        except EmbedgeError as error:
            problem = str(error)
    counts = connection.execute(
        "SELECT f.state, f.reason, count(*) FROM collection_files cf JOIN files f"
        " ON f.id = cf.file_id WHERE cf.collection_id = ? GROUP BY f.state, f.reason",
        (collection.id,),
    ).fetchall()
    files: dict[str, int] = {}
    reasons: dict[str, int] = {}
    for state, reason, count in counts:
        files[state] = files.get(state, 0) + count
        if reason is not None and state in ("error", "skipped"):
            reasons[reason] = reasons.get(reason, 0) + count
    n_chunks = connection.execute(
        f"SELECT count(*) FROM {LIVE_CHUNKS} WHERE co.id = ?", (collection.id,)
    ).fetchone()[0]
    is_known = is_settled(connection, collection, target)  # a watch asks at every look
    n_pending = 0 if is_known else len(find_pending(connection, collection.id, target))
    return CollectionStatus(
        name=collection.name,
        model=space.model,
        revision=space.revision,
        variant=space.variant,
        dim=space.dim,
        space=space.fingerprint,
        chunker=collection.chunker.fingerprint,
        roots=_roots(connection, collection),
        files=files,
        reasons=reasons,
        chunks=int(n_chunks),
        pending=n_pending,
        last_update_ms=collection.last_update_ms,
        model_available=problem is None,
        model_problem=problem,
        moving_to=target.space.fingerprint if target.is_move else None,
    )


def _roots(connection: sqlite3.Connection, collection: CollectionRow) -> tuple[RootStatus, ...]:
    found = []
    for root, _ in roots_of(connection, collection.id):
        n_files = connection.execute(
            "SELECT count(*) FROM collection_files cf JOIN files f ON f.id = cf.file_id"
            " WHERE cf.collection_id = ? AND f.root_id = ?",
            (collection.id, root.id),
        ).fetchone()[0]
        found.append(
            RootStatus(
                path=root.path,
                state=root.state,
                files=int(n_files),
                last_seen_ms=root.last_seen_ms,
            )
        )
    return tuple(found)


def list_files(
    connection: sqlite3.Connection, collections: Sequence[CollectionRow]
) -> list[FileEntry]:
    """Return the files of collections by path."""
    entries = []
    for collection in collections:
        rows = connection.execute(
            "SELECT r.path, f.rel_path, f.state, f.reason, f.message, f.size, r.state,"
            " coalesce((SELECT n.n_chunks FROM chunkings n WHERE n.file_id = f.id"
            " AND n.chunker_id = " + CHUNKER_OF_FILE.format(chunker=":chunker") + "), 0)"
            " FROM collection_files cf JOIN files f ON f.id = cf.file_id"
            " JOIN roots r ON r.id = f.root_id WHERE cf.collection_id = :collection"
            " ORDER BY r.path, f.rel_path",
            {"chunker": collection.chunker.id, "collection": collection.id},
        )
        for root, rel_path, state, reason, message, size, root_state, n_chunks in rows:
            entries.append(
                FileEntry(
                    collection=collection.name,
                    path=shown_path(root, rel_path),
                    state=state,
                    reason=reason,
                    message=message,
                    n_chunks=n_chunks,
                    size=size,
                    available=root_state == "online" and state != "missing",
                )
            )
    return entries
