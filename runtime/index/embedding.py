"""Embed what is pending, batch by batch; each batch is one transaction."""

import sqlite3
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedge.runtime.cancel import CancelToken
from embedge.runtime.index.connection import transaction
from embedge.runtime.index.live import PENDING
from embedge.runtime.index.runs import count_in_run, write_rate
from embedge.runtime.index.targets import Target
from embedge.runtime.index.vectors import store_vectors
from embedge.runtime.progress import ProgressEvent, ProgressMeter

if TYPE_CHECKING:
    from embedge.runtime.embedder import Embedder

_SECONDS_PER_COMMIT = 2.0
"""What a kill may cost; a commit takes milliseconds."""

_FEWEST, _FIRST, _MOST = 8, 32, 512
"""Texts per commit."""


@dataclass(frozen=True)
class Pending:
    """Texts without a vector: the id of one chunk of each, and its tokens without prefix."""

    chunk_ids: "array[int]"
    n_tokens: "array[int]"

    def __len__(self) -> int:
        return len(self.chunk_ids)


def find_pending(connection: sqlite3.Connection, collection_id: int, target: Target) -> Pending:
    """Return what a collection lacks in the space of a target."""
    ids, counts = array("q"), array("l")
    values = {
        "collection": collection_id,
        "space": target.space_id,
        "chunker": target.chunker_id,
    }
    for chunk_id, _, n_tokens in connection.execute(PENDING, values):
        ids.append(chunk_id)
        counts.append(n_tokens)
    return Pending(ids, counts)


@dataclass(frozen=True)
class EmbeddingRun:
    """Where vectors go, and who watches."""

    connection: sqlite3.Connection
    run_id: int
    meter: ProgressMeter
    cancel: CancelToken


@dataclass(frozen=True)
class Embedded:
    """What was embedded."""

    chunks: int
    tokens: int


def embed_pending(
    run: EmbeddingRun, pending: Pending, target: Target, embedder: "Embedder"
) -> Embedded:
    """Embed texts in the order in which they were written.

    Raises:
        Cancelled: the token was used; finished batches are kept.
        BackendError: the model failed; nothing of that batch is written.
    """
    size, place, tokens = _FIRST, 0, 0
    seconds = 0.0
    around = tokens_around(embedder)
    left = sum(pending.n_tokens) + around * len(pending)
    while place < len(pending):
        run.cancel.raise_if_cancelled()
        ids = pending.chunk_ids[place : place + size]
        begun = time.perf_counter()
        done = _embed_batch(run, ids, target, embedder, left)
        taken = time.perf_counter() - begun
        place += len(ids)
        tokens += done
        left = max(0, left - done)
        seconds += taken
        size = int(size * _SECONDS_PER_COMMIT / max(taken, 1e-3))
        size = min(max(size, _FEWEST), _MOST, 2 * len(ids))
    with transaction(run.connection):
        write_rate(run.connection, target.space, tokens, seconds)
    return Embedded(len(pending), tokens)


def _embed_batch(
    run: EmbeddingRun, ids: Sequence[int], target: Target, embedder: "Embedder", left: int
) -> int:
    """Embed and store the texts of some chunks; return the tokens that the model saw."""
    connection = run.connection
    marks = ",".join("?" * len(ids))
    rows = connection.execute(
        f"SELECT text_sha256, text FROM chunks WHERE id IN ({marks}) ORDER BY id", list(ids)
    ).fetchall()
    result = embedder.encode(
        [text for _, text in rows],
        task="document",
        own_prefix=False,
        progress=_forward(run.meter, left),
        cancel=run.cancel,
        return_info=True,
    )
    counts = [info.n_tokens for info in result.info]
    assert target.space_id is not None
    widths = (target.space.dim, target.space.coarse_dim)
    vectors = result.vectors.astype("float32", copy=False)
    with transaction(connection):
        keys = [key for key, _ in rows]
        store_vectors(connection, target.space_id, widths, keys, vectors, counts, run.run_id)
        count_in_run(connection, run.run_id, chunks_done=len(rows), tokens_done=sum(counts))
    return sum(counts)


def _forward(meter: ProgressMeter, left: int) -> Callable[[ProgressEvent], None]:
    """Return a callback that adds the progress of one call to that of the run."""
    seen_chunks = seen_tokens = 0

    def add(event: ProgressEvent) -> None:
        nonlocal seen_chunks, seen_tokens
        if event.event == "start":
            return
        meter.advance(
            chunks=event.chunks_done - seen_chunks,
            tokens=event.tokens_done - seen_tokens,
            tokens_left=max(0, left - event.tokens_done),
        )
        seen_chunks, seen_tokens = event.chunks_done, event.tokens_done

    return add


def tokens_around(embedder: "Embedder") -> int:
    """Return how many tokens prefix and special tokens add to a text."""
    loaded = embedder.loaded
    prefix = loaded.bundle.manifest.identity.prompts.get("document", "")
    return len(loaded.encoder.prefix_tokens(prefix)) + loaded.tokens.n_special
