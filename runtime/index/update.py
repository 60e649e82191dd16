"""One run: scan, write what was found, read and cut files, embed what is pending, change over.

Every step leaves a valid index and asks the index itself what is left, so a run that dies is
continued by the next one, whatever that one is called with.
"""

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from embedge.models.errors import InputError
from embedge.runtime.cancel import CancelToken
from embedge.runtime.extract import stop_reading
from embedge.runtime.index.connection import now_ms, transaction
from embedge.runtime.index.embedding import EmbeddingRun, Pending, embed_pending, find_pending
from embedge.runtime.index.readers import try_again_after_upgrade
from embedge.runtime.index.reading import (
    CutFile,
    Cutter,
    FileContent,
    FileToRead,
    extract_content,
    files_to_read,
    read_content,
    write_cut_file,
    write_failure,
)
from embedge.runtime.index.results import UpdateReport
from embedge.runtime.index.rows import CollectionRow
from embedge.runtime.index.runs import count_in_run, logged_run
from embedge.runtime.index.scan import Scan, state_of
from embedge.runtime.index.scan_writing import write_scan
from embedge.runtime.index.settled import is_settled, settle
from embedge.runtime.index.space_models import CollectionModelMissing, SpaceModels
from embedge.runtime.index.targets import Target, finish_move, remember_bundle, remembered_bundle
from embedge.runtime.progress import ProgressCallback, ProgressMeter

if TYPE_CHECKING:
    from embedge.runtime.embedder import Embedder


@dataclass(frozen=True)
class Job:
    """A collection and what it is brought to."""

    collection: CollectionRow
    target: Target


@dataclass
class _Totals:
    embedded: int = 0
    reused: int = 0
    tokens: int = 0
    errors: int = 0
    warnings: list[str] = field(default_factory=list)
    missing_models: list[CollectionModelMissing] = field(default_factory=list)


def run_update(
    connection: sqlite3.Connection,
    models: SpaceModels,
    jobs: Sequence[Job],
    found: Scan,
    *,
    kind: str,
    progress: ProgressCallback | None = None,
    cancel: CancelToken,
) -> UpdateReport:
    """Bring collections up to date with what a scan found.

    Args:
        connection: the writer's.
        models: open the embedders where there is something to cut or embed.
        jobs: the collections.
        found: of all their roots.
        kind: of the run, for the log.
        progress: called between files and batches.
        cancel: ends the run; finished files and batches are kept.

    Raises:
        Cancelled: the token was used.
        ModelNotFound: a model is gone; the other collections were updated.
    """
    begun = time.monotonic()
    with logged_run(connection, kind) as run_id:
        update = _Update(connection, models, run_id, progress, cancel)
        write_scan(connection, found)
        with cancel.attached(stop_reading):
            try_again_after_upgrade(connection)
            update.run(jobs)
    totals = update.totals
    if totals.missing_models:
        raise totals.missing_models[0]
    return UpdateReport(
        collections=tuple(job.collection.name for job in jobs),
        files_seen=found.n_seen,
        files_new=found.count("new"),
        files_changed=found.count("changed"),
        files_moved=found.count("moved"),
        files_missing=found.count("missing"),
        chunks_embedded=totals.embedded,
        chunks_reused=totals.reused,
        tokens=totals.tokens,
        errors=totals.errors + found.count("failed", state="error"),
        seconds=round(time.monotonic() - begun, 3),
        warnings=(*found.warnings, *found.offline.values(), *totals.warnings),
        offline_roots=tuple(found.offline.values()),
    )


class _Update:
    """The writing half of a run."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        models: SpaceModels,
        run_id: int,
        progress: ProgressCallback | None,
        cancel: CancelToken,
    ) -> None:
        self._connection = connection
        self._models = models
        self._run_id = run_id
        self._progress = progress
        self._cancel = cancel
        self.totals = _Totals()
        self._n_read = 0

    def run(self, jobs: Sequence[Job]) -> None:
        """Read and cut for every collection, then embed for every collection."""
        with transaction(self._connection):
            for job in jobs:
                self._connection.execute(
                    "UPDATE collections SET start_update_ms = ? WHERE id = ?",
                    (now_ms(), job.collection.id),
                )
        lists = [self._to_read(job) for job in jobs]
        counts = [len(files) for files in lists]
        spaces = ",".join(dict.fromkeys(job.target.space.fingerprint for job in jobs))
        meter = ProgressMeter(self._progress, space=spaces, files_total=sum(counts))
        with meter.running():
            done = []
            for number, job in enumerate(jobs):
                # Asked again: an earlier collection of the same cut has read their common files.
                files = self._to_read(job) if number else lists[0]
                meter.files_total = self._n_read + len(files) + sum(counts[number + 1 :])
                if self._read_all(job, files, meter):
                    done.append(job)
            for job in done:
                files = self._retried(job)
                meter.files_total = self._n_read + len(files)
                self._read_all(job, files, meter)
            self._embed_all(done, meter)

    def _to_read(self, job: Job) -> list[FileToRead]:
        return list(files_to_read(self._connection, job.collection.id, job.target.chunker_id))

    def _retried(self, job: Job) -> list[FileToRead]:
        """Return files that changed while they were read: one more try at the end."""
        changed = self._connection.execute(
            "SELECT f.id FROM files f JOIN collection_files cf ON cf.file_id = f.id"
            " WHERE cf.collection_id = ? AND f.state = 'error'"
            " AND f.reason = 'changed_while_reading'",
            (job.collection.id,),
        ).fetchall()
        if not changed:
            return []
        with transaction(self._connection):
            self._connection.executemany("UPDATE files SET state = 'pending' WHERE id = ?", changed)
        return self._to_read(job)

    def _read_all(self, job: Job, files: Sequence[FileToRead], meter: ProgressMeter) -> bool:
        """Cut files and write them; False if the model, whose tokenizer cuts, is gone."""
        if not files:
            return True
        try:
            embedder = self._embedder(job)
        except CollectionModelMissing as error:
            self.totals.missing_models.append(error)
            return False
        cutter = Cutter(embedder.loaded.tokens, job.target.spec)
        for file in files:
            self._cancel.raise_if_cancelled()
            self._read_one(job, file, cutter, meter)
            self._n_read += 1
            meter.advance(files=1, path=file.shown)
        return True

    def _read_one(self, job: Job, file: FileToRead, cutter: Cutter, meter: ProgressMeter) -> None:
        content: FileContent | None = None
        try:
            content = read_content(file)
            document = extract_content(file, content)
        except InputError as error:
            write_failure(self._connection, file, error, content)
            if state_of(error) == "error":
                self.totals.errors += 1
                meter.file_error(file.shown, error.code, str(error))
            return
        cut = CutFile(content.sha256, content.stat, document, cutter.cut(document))
        assert job.target.chunker_id is not None
        write_cut_file(self._connection, file.id, job.target.chunker_id, cut)
        reused = self._count_reused(file.id, job.target)
        self.totals.reused += reused
        meter.advance(reused=reused)
        with transaction(self._connection):
            count_in_run(self._connection, self._run_id, files_done=1, chunks_reused=reused)

    def _count_reused(self, file_id: int, target: Target) -> int:
        row = self._connection.execute(
            "SELECT count(DISTINCT c.text_sha256) FROM chunks c JOIN vectors v"
            " ON v.space_id = ? AND v.text_sha256 = c.text_sha256"
            " WHERE c.file_id = ? AND c.chunker_id = ?",
            (target.space_id, file_id, target.chunker_id),
        ).fetchone()
        return int(row[0])

    def _embed_all(self, jobs: Sequence[Job], meter: ProgressMeter) -> None:
        connection = self._connection
        unsettled = [job for job in jobs if not is_settled(connection, job.collection, job.target)]
        lists = [self._pending(job) for job in unsettled]
        totals = [len(texts) for texts in lists]
        failed = []
        for number, job in enumerate(unsettled):
            # Asked again: collections of one space may have texts in common.
            texts = self._pending(job) if number else lists[0]
            meter.chunks_total = meter.chunks_done + len(texts) + sum(totals[number + 1 :])
            if texts and not self._embed(job, texts, meter):
                failed.append(job)
                continue
            with transaction(connection):
                if job.target.is_move:
                    finish_move(connection, job.collection, job.target)
                settle(connection, job.collection, job.target)
        meter.chunks_total = meter.chunks_done
        with transaction(connection):
            connection.executemany(
                "UPDATE collections SET last_update_ms = ? WHERE id = ?",
                [(now_ms(), job.collection.id) for job in jobs if job not in failed],
            )

    def _pending(self, job: Job) -> Pending:
        return find_pending(self._connection, job.collection.id, job.target)

    def _embed(self, job: Job, texts: Pending, meter: ProgressMeter) -> bool:
        try:
            embedder = self._embedder(job)
        except CollectionModelMissing as error:
            self.totals.missing_models.append(error)
            return False
        run = EmbeddingRun(self._connection, self._run_id, meter, self._cancel)
        done = embed_pending(run, texts, job.target, embedder)
        self.totals.embedded += done.chunks
        self.totals.tokens += done.tokens
        return True

    def _embedder(self, job: Job) -> "Embedder":
        space, name = job.target.space, job.collection.name
        hint = remembered_bundle(self._connection, space)
        embedder = self._models.for_space(space, name, hint)
        here = embedder.loaded.bundle.path
        if hint != str(here.absolute()):
            with transaction(self._connection):
                remember_bundle(self._connection, space, here)
        return embedder
