"""Is the index sound: SQLite's own checks, the full text's, our hashes, and on demand a sample."""

import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING

from embedge.models.errors import ModelNotFound
from embedge.models.space import short_hash
from embedge.runtime.cancel import CancelToken
from embedge.runtime.index.live import LIVE_CHUNKS
from embedge.runtime.index.reading import text_sha256
from embedge.runtime.index.results import VerifyReport
from embedge.runtime.index.rows import SpaceRow, all_spaces, find_collections
from embedge.runtime.index.space_models import SpaceModels
from embedge.runtime.index.targets import remembered_bundle
from embedge.runtime.index.vectors import read_fine
from embedge.runtime.progress import ProgressCallback, ProgressMeter

if TYPE_CHECKING:
    from embedge.runtime.embedder import Embedder

_SAMPLE = 64
_LEAST_COSINE = 0.999
"""Machines and builds differ by about 1e-4 in 1 - cosine, float16 by less."""


def verify_index(
    connection: sqlite3.Connection,
    models: SpaceModels,
    *,
    deep: bool,
    progress: ProgressCallback | None,
    cancel: CancelToken,
) -> VerifyReport:
    """Run every check and collect the problems; see `Index.verify`.

    Args:
        connection: a writer's, within a transaction that is undone: SQLite asks the full text by
            writing a command to it.
        models: to embed the sample.
        deep: embed a sample of each space again.
        progress: called while the sample is embedded.
        cancel: ends the run.
    """
    n_vectors, n_chunks = (
        int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        for table in ("vectors", "chunks")
    )
    problems = [*_sqlite(connection), *_full_text(connection), *_hashes(connection, cancel)]
    lowest, count = None, 0
    if deep:
        sampler = _Sampler(connection, models, cancel)
        problems += sampler.run(progress)
        lowest, count = sampler.lowest, sampler.count
    return VerifyReport(
        problems=tuple(problems),
        vectors=n_vectors,
        chunks=n_chunks,
        resampled=count,
        lowest_cosine=lowest,
    )


def _sqlite(connection: sqlite3.Connection) -> Iterator[str]:
    for (line,) in connection.execute("PRAGMA integrity_check"):
        if line != "ok":
            yield f"SQLite: {line}"
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield f"row {row} of {table} refers to nothing in {parent}"


def _full_text(connection: sqlite3.Connection) -> Iterator[str]:
    commands = (
        "INSERT INTO chunks_fts(chunks_fts, rank) VALUES('integrity-check', 1)",
        "INSERT INTO chunks_gram(chunks_gram) VALUES('integrity-check')",
    )
    for command in commands:
        try:
            connection.execute(command)
        except sqlite3.DatabaseError as error:
            yield f"full text: {error}"


def _hashes(connection: sqlite3.Connection, cancel: CancelToken) -> Iterator[str]:
    for space in all_spaces(connection):
        if short_hash(space.identity_json) != space.digest:
            yield f"space {space.fingerprint} does not describe itself: its identity was altered"
        count = connection.execute(
            "SELECT count(*) FROM vectors WHERE space_id = ? AND (length(fine) <> ?"
            " OR length(coarse) <> ?)",
            (space.id, 2 * space.dim, space.coarse_dim),
        ).fetchone()[0]
        if count:
            yield f"{count} vectors of {space.fingerprint} have a wrong length"
    wrong = 0
    for number, (text, key) in enumerate(
        connection.execute("SELECT text, text_sha256 FROM chunks")
    ):
        wrong += text_sha256(text) != key
        if number % 10_000 == 0:
            cancel.raise_if_cancelled()
    if wrong:
        yield f"{wrong} chunks have a text that is not the one that was hashed"
    count = connection.execute(
        "SELECT count(*) FROM chunkings k WHERE k.n_chunks <> (SELECT count(*) FROM chunks c"
        " WHERE c.file_id = k.file_id AND c.chunker_id = k.chunker_id)"
    ).fetchone()[0]
    if count:
        yield f"{count} files lack some of their chunks"


class _Sampler:
    """Embeds a random sample of each space again."""

    def __init__(
        self, connection: sqlite3.Connection, models: SpaceModels, cancel: CancelToken
    ) -> None:
        self._connection, self._models, self._cancel = connection, models, cancel
        self.lowest: float | None = None
        self.count = 0

    def run(self, progress: ProgressCallback | None) -> Iterator[str]:
        by_space: dict[SpaceRow, str] = {}
        for collection in find_collections(self._connection):
            by_space.setdefault(collection.space, collection.name)
        meter = ProgressMeter(progress, space=",".join(s.fingerprint for s in by_space))
        problems: list[str] = []
        with meter.running():
            for space, name in by_space.items():
                hint = remembered_bundle(self._connection, space)
                try:
                    embedder = self._models.for_space(space, name, hint)
                except ModelNotFound as error:
                    problems.append(str(error))
                    continue
                problems += self._compare(space, embedder, meter)
        yield from problems

    def _compare(
        self, space: SpaceRow, embedder: "Embedder", meter: ProgressMeter
    ) -> Iterator[str]:
        rows = self._connection.execute(
            f"SELECT c.text, v.fine, f.rel_path, c.seq FROM {LIVE_CHUNKS} JOIN vectors v"
            " ON v.space_id = co.space_id AND v.text_sha256 = c.text_sha256"
            f" WHERE co.space_id = ? GROUP BY v.id ORDER BY random() LIMIT {_SAMPLE}",
            (space.id,),
        ).fetchall()
        if not rows:
            return
        texts = [row[0] for row in rows]
        vectors = embedder.encode(texts, task="document", own_prefix=False, cancel=self._cancel)
        meter.advance(chunks=len(rows))
        self.count += len(rows)
        for (_, fine, path, seq), vector in zip(rows, vectors, strict=True):
            stored = read_fine(fine)
            cosine = float(stored @ vector) / float((stored @ stored) ** 0.5)
            self.lowest = cosine if self.lowest is None else min(self.lowest, cosine)
            if cosine < _LEAST_COSINE:
                yield (
                    f"chunk {seq} of {path}: the stored vector has cosine {cosine:.4f} with that "
                    f"of its text in {space.fingerprint}"
                )
