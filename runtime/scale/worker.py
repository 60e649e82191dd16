"""The stateful worker: opens the model once, turns shards into Parquet files."""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedge.models.durable import new_file
from embedge.models.errors import InvalidOption, SpaceMismatch
from embedge.runtime.embedder import Embedder
from embedge.runtime.scale.job import Counts, ScaleJob
from embedge.runtime.scale.shards import Shard
from embedge.runtime.scale.texts import Piece, ShardTexts, texts_of
from embedge.runtime.vector_table import Row, record_batch, vector_schema

if TYPE_CHECKING:
    from embedge.runtime.chunking import Chunk
    from embedge.runtime.extract import Document
    from embedge.runtime.results import Embedded

_ROWS_PER_BATCH = 1024
_COUNTS_KEY = "embedge.counts"


@dataclass(frozen=True)
class ShardResult:
    """A finished shard."""

    number: int
    counts: Counts


class ShardEmbedder:
    """Embeds shards, one after the other, with one open model."""

    def __init__(self, job: ScaleJob) -> None:
        """Open the model.

        Raises:
            ModelNotFound: the model is not on this machine.
            SpaceMismatch: the model here makes other vectors than the one that began the run.
        """
        self._job = job
        options = job.options
        self._embedder = Embedder(
            options.model,
            variant=options.variant,
            dim=options.dim,
            threads=options.threads,
            max_memory=options.max_memory,
            cache_dir=options.cache_dir,
        )
        here = self._embedder.space
        here = replace(here, identity=replace(here.identity, normalized=options.normalize))
        if here != job.space:
            here.require_equal(job.space, "Install the same model on every machine.")
            raise SpaceMismatch(f"this worker gives {here}, the run began with {job.space}")
        self._texts = ShardTexts(options, job.rows, self._cut)
        self._schema = self._make_schema()

    def embed(self, shard: Shard) -> ShardResult:
        """Write the part of a shard, whole or not at all.

        Raises:
            InputError: the file of the rows went away or changed.
            OSError: the part cannot be written.
        """
        from pyarrow import parquet

        begun = time.monotonic()
        counts = Counts()
        part = self._job.part(shard.number)
        with (
            new_file(part) as partial,
            parquet.ParquetWriter(partial, self._schema) as writer,
        ):
            left = self._rows(shard)
            while rows := list(islice(left, _ROWS_PER_BATCH)):
                writer.write_batch(record_batch(self._schema, rows))
                counts += _count(rows)
            counts = replace(counts, seconds=round(time.monotonic() - begun, 3))
            writer.add_key_value_metadata({_COUNTS_KEY: json.dumps(asdict(counts))})
        return ShardResult(shard.number, counts)

    def finished(self, number: int) -> ShardResult | None:
        """Return what the part of a shard says, None if it is not there."""
        part = self._job.part(number)
        return ShardResult(number, counts_of(part)) if part.exists() else None

    def _rows(self, shard: Shard) -> Iterator[Row]:
        """Yield one row per piece, in order; failed ones keep their place."""
        tail = {"space": self._job.space.fingerprint}
        seen: list[Piece] = []
        done = 0
        for result in self._stream(texts_of(self._texts.pieces(shard), seen)):
            while (piece := seen[done]).text is None:
                yield piece.fields, None
                done += 1
            info = result.info
            fields = piece.fields | tail | {"n_tokens": info.n_tokens, "task": info.task}
            fields["truncated"] = info.truncated
            if self._job.options.store_text:
                fields["text"] = piece.text
            yield fields, result.vector
            done += 1
        yield from ((piece.fields, None) for piece in seen[done:])

    def _stream(self, texts: Iterator[str]) -> "Iterator[Embedded]":
        options = self._job.options
        chunked = options.long_text == "chunk"
        return self._embedder.stream(
            texts,
            task=None if options.prefix is not None else options.task,
            prefix=options.prefix,
            own_prefix=False,
            precision=options.precision,
            normalize=options.normalize,
            # Passages are cut before they come here; should one be too long, nothing is lost.
            long_text="mean" if chunked else options.long_text,
            max_tokens=options.max_tokens,
            overlap=None if chunked else options.overlap,
            batch_size=options.batch_size,
            batch_tokens=options.batch_tokens,
        )

    def _cut(self, document: "Document") -> "list[Chunk]":
        from embedge.runtime.chunking import chunk_text

        options, loaded = self._job.options, self._embedder.loaded
        limits = loaded.options.limits(options.max_tokens, options.overlap, "chunk")
        prefix = loaded.prompts.choose(options.task, options.prefix).prefix
        return chunk_text(
            document.text,
            loaded.tokens,
            max_tokens=limits.room(len(loaded.encoder.prefix_tokens(prefix))),
            overlap=limits.overlap,
            kind=document.kind,
            pages=document.pages,
            headings=document.headings,
        )

    def _make_schema(self) -> Any:
        options, job = self._job.options, self._job
        dim = self._embedder.dim
        width = dim // 8 if options.precision == "ubinary" else dim
        metadata = {"embedge.space": job.space.fingerprint, "embedge.manifest": job.description}
        return vector_schema(width, options.precision, metadata)


def counts_of(part: Path) -> Counts:
    """Read the counts that a part carries.

    Raises:
        InvalidOption: it is no part of ours; names it.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        metadata = parquet.read_metadata(part).metadata or {}
        return Counts.of(json.loads(metadata[_COUNTS_KEY.encode()]))
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise InvalidOption(f"{part} is damaged ({error}); remove it and use --resume") from error


def run_here(job: ScaleJob, shards: Iterable[Shard]) -> Iterator[ShardResult]:
    """Embed shards one after the other in this process."""
    worker: ShardEmbedder | None = None
    for shard in shards:
        worker = worker or ShardEmbedder(job)
        yield worker.embed(shard)


def _count(rows: list[Row]) -> Counts:
    good = [fields for fields, vector in rows if vector is not None]
    ends = [f for f, _ in rows if "chunk" not in f or int(str(f["chunk"])) + 1 == f["n_chunks"]]
    return Counts(
        inputs=len(ends),
        vectors=len(good),
        failed=len(rows) - len(good),
        tokens=sum(int(str(fields["n_tokens"])) for fields in good),
        truncated=sum(fields["truncated"] is True for fields in good),
    )
