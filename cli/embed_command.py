"""What `embed text` and `embed files` share: model, output, loop, counts, exit code."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from embedge.cli import SOME_FAILED
from embedge.cli.embed_options import (
    EmbedOptions,
    open_embedder,
    running_space,
    task_label,
    vector_width,
)
from embedge.cli.embed_run import embed_inputs, until_first_failure
from embedge.cli.interrupt import cancelling
from embedge.cli.messages import say
from embedge.cli.options import ModelFlags, RunFlags
from embedge.cli.output.session import OutputChoice, OutputSession, open_output
from embedge.cli.output.sidecar import RunDescription
from embedge.cli.output.target import partial_path
from embedge.cli.progress_bar import progress_form, show_progress
from embedge.cli.records import Fields, Input, Record

if TYPE_CHECKING:
    from embedge.runtime.embedder import Embedder
    from embedge.runtime.progress import ProgressEvent, ProgressMeter

# Failed inputs that are named on stderr; all are in the records.
_SHOWN_FAILURES = 10

ReadInputs = Callable[["Embedder", OutputSession], Iterator[Input]]


@dataclass(frozen=True, kw_only=True)
class EmbedJob:
    """One run of `embed text` or `embed files`, checked but not started.

    Attributes:
        read: gives the inputs that an earlier run has not finished.
        fixed: further options that decide the records, compared by `--resume`.
        chunk_total, file_total, byte_total: sizes for the bar, None where unknown.
    """

    options: EmbedOptions
    choice: OutputChoice
    read: ReadInputs
    fixed: Fields
    store_text: bool
    metadata: Fields | None = None
    chunk_total: int | None = None
    file_total: int | None = None
    byte_total: int | None = None


def run_embedding(job: EmbedJob, model: ModelFlags, run: RunFlags) -> None:
    """Load the model, embed, write; ends with exit code 3 if an input failed.

    Raises:
        typer.Exit: with code 3.
        EmbedgeError: the run could not start or go on.
    """
    form = progress_form(run.progress, quiet=run.quiet)
    with open_embedder(model, run) as embedder:
        description = _describe(job, embedder)
        facts = {
            "dim": vector_width(embedder, job.options),
            "precision": job.options.precision,
            "task": task_label(job.options, embedder.space.identity.prompts),
            "model": embedder.model,
        }
        with (
            show_progress(form, no_color=run.no_color) as callback,
            open_output(
                job.choice, description, facts, texts_per_block=job.options.texts_per_block
            ) as session,
        ):
            try:
                _loop(job, embedder, session, callback, run)
            except KeyboardInterrupt:
                _say_how_to_continue(job.choice, quiet=run.quiet)
                raise
    if form == "bar" and job.choice.path is not None:
        counts = session.counts
        say(f"{job.choice.path}: {_plural(counts.vectors, 'vector')}, {counts.tokens} tokens")
    _report(session, quiet=run.quiet)


def _loop(
    job: EmbedJob,
    embedder: "Embedder",
    session: OutputSession,
    callback: "Callable[[ProgressEvent], None] | None",
    run: RunFlags,
) -> None:
    from embedge.runtime.cancel import CancelToken
    from embedge.runtime.progress import ProgressMeter

    inputs = job.read(embedder, session)
    if not run.keep_going:
        inputs = until_first_failure(inputs)
    space = running_space(embedder, job.options)
    tail: dict[str, object] = {
        "dim": embedder.dim,
        "precision": job.options.precision,
        "space": space.fingerprint,
    }
    if job.metadata is not None:
        tail["metadata"] = job.metadata
    cancel = CancelToken()
    meter = ProgressMeter(
        callback,
        space=space.fingerprint,
        files_total=job.file_total,
        chunks_total=job.chunk_total,
    )
    watch = _Watch(meter, job.byte_total)
    with cancelling(cancel), cancel.attached(_stop_reading), meter.running():
        for record in embed_inputs(
            embedder,
            inputs,
            job.options,
            tail=tail,
            store_text=job.store_text,
            cancel=cancel,
            progress=watch.on_batch,
        ):
            session.write(record)
            watch.on_record(record, quiet=run.quiet)


def _stop_reading() -> None:
    """End the reading of a PDF, which may take a minute; `embed text` never loads what reads."""
    reader = sys.modules.get("embedge.runtime.extract.pdf_process")
    if reader is not None:
        reader.stop_reading()


class _Watch:
    """Feeds the meter: tokens and chunks when a batch ends, files when their records are out."""

    def __init__(self, meter: "ProgressMeter", byte_total: int | None) -> None:
        self._meter, self._byte_total = meter, byte_total
        self._bytes = self._tokens = 0
        self._seen_chunks = self._seen_tokens = 0
        self._failures = 0

    def on_batch(self, event: "ProgressEvent") -> None:
        """Add what a batch of the running stream finished; each stream counts from zero."""
        if event.event == "start":
            self._seen_chunks = self._seen_tokens = 0
            return
        tokens = event.tokens_done - self._seen_tokens
        chunks = event.chunks_done - self._seen_chunks
        self._seen_tokens, self._seen_chunks = event.tokens_done, event.chunks_done
        self._tokens += tokens
        self._meter.advance(chunks=chunks, tokens=tokens, tokens_left=self._tokens_left())

    def on_record(self, record: Record, *, quiet: bool) -> None:
        """Count the file that this record ends, and name it on stderr if it failed."""
        path = record.fields.get("path")
        shown = None if path is None else str(path)
        error = record.fields.get("error")
        if isinstance(error, dict):
            name = shown or str(record.fields["id"])
            self._meter.file_error(name, str(error["code"]), str(error["message"]))
            self._name_failure(error, quiet=quiet)
        if record.last:
            self._bytes += record.size
            self._meter.advance(files=1, path=shown)

    def _name_failure(self, error: Fields, *, quiet: bool) -> None:
        self._failures += 1
        if not quiet and self._failures <= _SHOWN_FAILURES:
            say(f"{error['message']} ({error['code']})")

    def _tokens_left(self) -> int | None:
        if self._byte_total is None or not self._bytes:
            return None
        return (self._byte_total - self._bytes) * self._tokens // self._bytes


def _describe(job: EmbedJob, embedder: "Embedder") -> RunDescription:
    from embedge.runtime.cpu import cpu_features, cpu_model

    return RunDescription(
        command=sys.argv[1:],
        space=running_space(embedder, job.options),
        options=job.options.as_fields()
        | {"store_text": job.store_text, "metadata": job.metadata}
        | dict(job.fixed),
        machine={
            "cpu": cpu_model(),
            "features": list(cpu_features()),
            "variant": embedder.variant,
            "model": embedder.model,
        },
    )


def _report(session: OutputSession, *, quiet: bool) -> None:
    counts = session.counts
    if not counts.failed:
        return
    if not quiet:
        more = counts.failed - _SHOWN_FAILURES
        if more > 0:
            say(f"... and {more} more")
        if counts.failed + counts.vectors > 1:
            written = _plural(counts.vectors, "vector")
            say(f"{_plural(counts.failed, 'input')} failed, {written} written")
    raise typer.Exit(SOME_FAILED)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _say_how_to_continue(choice: OutputChoice, *, quiet: bool) -> None:
    if choice.path is not None and choice.format == "jsonl" and not quiet:
        say(f"interrupted; {partial_path(choice.path)} is kept, go on with --resume")
