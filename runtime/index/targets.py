"""What a collection is being brought to: a space and a way to cut.

Usually both are those that it is searched by. While it moves to another model or chunk size they
are the new ones, remembered in `meta`, so that a killed move goes on; the collection changes over
in one transaction when the second set is complete.
"""

import json
import sqlite3
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from embedge.runtime.chunking import ChunkerSpec
from embedge.runtime.encode_options import CHUNK_OVERLAP
from embedge.runtime.index.meta import read_meta, write_meta
from embedge.runtime.index.rows import (
    ChunkerRow,
    CollectionRow,
    SpaceRow,
    chunker_by_id,
    coarse_dim,
    ensure_chunker,
    ensure_space,
    find_space,
    space_by_id,
)
from embedge.runtime.long_text import Limits

if TYPE_CHECKING:
    from embedge.runtime.embedder import Embedder


@dataclass(frozen=True)
class Target:
    """A space and a way to cut; an id of None means that the index has no such row yet."""

    space_id: int | None
    space: SpaceRow
    chunker_id: int | None
    spec: ChunkerSpec
    is_move: bool = False


def current_target(connection: sqlite3.Connection, collection: CollectionRow) -> Target:
    """Return what an update brings a collection to: where a move was begun, its goal."""
    stored = read_meta(connection, _key(collection.id))
    if stored is None:
        spec = _spec_of(collection.chunker.spec)
        return Target(collection.space.id, collection.space, collection.chunker.id, spec)
    ids = json.loads(stored)
    chunker = chunker_by_id(connection, ids["chunker"])
    space = space_by_id(connection, ids["space"])
    return Target(space.id, space, chunker.id, _spec_of(chunker.spec), is_move=True)


def new_target(
    connection: sqlite3.Connection,
    embedder: "Embedder",
    *,
    base: ChunkerSpec | None = None,
    max_tokens: int | None = None,
    overlap: int | None = None,
) -> Target:
    """Return the target for an embedder and chunk options; writes nothing.

    Args:
        connection: to look up rows that exist.
        embedder: makes the vectors.
        base: the options of the collection so far, kept where the caller says nothing.
        max_tokens: longest passage with prefix and special tokens.
        overlap: tokens.

    Raises:
        InvalidOption: no room for text.
    """
    spec = chunker_spec(embedder, base=base, max_tokens=max_tokens, overlap=overlap)
    found = find_space(connection, embedder.space.fingerprint)
    manifest = embedder.loaded.bundle.manifest
    space = found or SpaceRow(
        -1, embedder.space.fingerprint, "{}", manifest.name, manifest.revision, embedder.variant,
        embedder.dim, coarse_dim(embedder.dim, manifest.matryoshka), 0,
    )  # fmt: skip
    row = connection.execute(
        "SELECT id FROM chunkers WHERE fingerprint = ?", (spec.fingerprint,)
    ).fetchone()
    return Target(found.id if found else None, space, row[0] if row else None, spec, is_move=True)


def chunker_spec(
    embedder: "Embedder",
    *,
    base: ChunkerSpec | None = None,
    max_tokens: int | None = None,
    overlap: int | None = None,
) -> ChunkerSpec:
    """Return how to cut for a model.

    Raises:
        InvalidOption: the limits leave no room for text.
    """
    loaded = embedder.loaded
    identity = loaded.bundle.manifest.identity
    n_prefix = len(loaded.encoder.prefix_tokens(identity.prompts.get("document", "")))
    checked = loaded.options.limits(max_tokens, overlap, "chunk")
    if overlap is None:
        overlap = base.overlap if base is not None else min(CHUNK_OVERLAP, checked.overlap)
    limits = Limits(checked.max_tokens, loaded.tokens.n_special, min(overlap, checked.max_tokens))
    room = replace(limits, overlap=0).room(n_prefix)
    if base is not None and max_tokens is None:
        room = min(room, base.max_tokens)
    replace(limits, max_tokens=room + limits.n_special).room(0)  # checks the overlap
    return ChunkerSpec(room, overlap, identity.tokenizer_sha256)


def save_rows(connection: sqlite3.Connection, target: Target, embedder: "Embedder") -> Target:
    """Make the rows of a target; within a transaction."""
    space = ensure_space(connection, embedder.space, embedder.loaded.bundle.manifest)
    remember_bundle(connection, space, embedder.loaded.bundle.path)
    chunker = ensure_chunker(connection, target.spec)
    return replace(target, space_id=space.id, space=space, chunker_id=chunker.id)


def chunker_of(connection: sqlite3.Connection, target: Target) -> ChunkerRow:
    """Return the row of a target's chunker, which must be there."""
    assert target.chunker_id is not None
    return chunker_by_id(connection, target.chunker_id)


def begin_move(connection: sqlite3.Connection, collection: CollectionRow, target: Target) -> None:
    """Remember where a collection goes; within a transaction."""
    here = (collection.space.id, collection.chunker.id)
    if (target.space_id, target.chunker_id) == here:
        write_meta(connection, _key(collection.id), None)
        return
    ids = json.dumps({"space": target.space_id, "chunker": target.chunker_id})
    write_meta(connection, _key(collection.id), ids)


def finish_move(connection: sqlite3.Connection, collection: CollectionRow, target: Target) -> None:
    """Let a collection be searched by its new set; within a transaction."""
    connection.execute(
        "UPDATE collections SET space_id = ?, chunker_id = ? WHERE id = ?",
        (target.space_id, target.chunker_id, collection.id),
    )
    write_meta(connection, _key(collection.id), None)


def forget_move(connection: sqlite3.Connection, collection_id: int) -> None:
    """Drop the goal of a collection that is removed."""
    write_meta(connection, _key(collection_id), None)


def remember_bundle(connection: sqlite3.Connection, space: SpaceRow, path: Path) -> None:
    """Keep the folder of a model, which may lie outside the store."""
    write_meta(connection, f"bundle:{space.digest}", str(path.absolute()))


def remembered_bundle(connection: sqlite3.Connection, space: SpaceRow) -> str | None:
    """Return the folder in which the model of a space was last seen."""
    return read_meta(connection, f"bundle:{space.digest}")


def _key(collection_id: int) -> str:
    return f"target:{collection_id}"


def _spec_of(spec: object) -> ChunkerSpec:
    assert isinstance(spec, dict)
    if "tokenizer_sha256" not in spec:  # chunks that another program cut
        return ChunkerSpec(int(spec.get("max_tokens", 0)), 0, "")
    return ChunkerSpec(spec["max_tokens"], spec["overlap"], spec["tokenizer_sha256"])
