"""Checked forms of the flags that decide the vectors, and the embedder that follows from them."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast

from embedge.cli import options
from embedge.cli.messages import say, show_warnings_as_lines
from embedge.cli.options import ModelFlags, SayFlags, TaskFlags, VectorFlags
from embedge.cli.values import one_of, size_in_bytes
from embedge.models.errors import InvalidOption
from embedge.models.space import VARIANT_ALIASES, Space, custom_task

if TYPE_CHECKING:
    from embedge.runtime.embedder import Embedder

LongText = Literal["chunk", "mean", "truncate", "error"]
Precision = Literal["float32", "float16", "int8", "ubinary"]

# Texts that are sorted by length and batched together: enough to fill batches of 2,048 tokens,
# few enough that results come while one waits. Passages of files are longer than rows.
ROWS_PER_BLOCK = 256
PASSAGES_PER_BLOCK = 64


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """What `Embedder.stream` is called with.

    Attributes:
        task: name of a task or an alias, checked by the model's prompt table.
        prefix: a verbatim prefix, "" for none; None: the task's.
        long_text: what happens to a text over the limit.
        max_tokens: limit of one sequence, prefix and special tokens included; None: the model's.
        overlap: tokens that neighbouring windows or chunks share; None: by mode.
        precision: of the vectors.
        normalize: False leaves the length as pooling gives it.
        batch_tokens, batch_size: limits of one batch; None: from the memory model.
    """

    task: str = "document"
    prefix: str | None = None
    long_text: LongText = "mean"
    max_tokens: int | None = None
    overlap: int | None = None
    precision: Precision = "float32"
    normalize: bool = True
    batch_tokens: int | None = None
    batch_size: int | None = None

    @property
    def texts_per_block(self) -> int:
        """Texts that are sorted and batched together; `--batch-size 1` prints each at once."""
        if self.batch_size == 1:
            return 1
        return PASSAGES_PER_BLOCK if self.long_text == "chunk" else ROWS_PER_BLOCK

    def as_fields(self) -> dict[str, object]:
        """Return what decides the records, for manifests and `--resume`."""
        return {
            "task": self.task,
            "prefix": self.prefix,
            "long_text": self.long_text,
            "max_tokens": self.max_tokens,
            "overlap": self.overlap,
            "precision": self.precision,
            "normalize": self.normalize,
            "batch_tokens": self.batch_tokens,
            "batch_size": self.batch_size,
        }


def embed_options(
    vectors: VectorFlags, model: ModelFlags, *, default_long_text: LongText
) -> EmbedOptions:
    """Check the flags, before any model is loaded.

    Raises:
        InvalidOption: a value is unknown, or two flags exclude each other.
    """
    long_text = one_of(
        vectors.long_text or default_long_text, options.LONG_TEXT_MODES, "--long-text"
    )
    task, prefix = task_and_prefix(vectors)
    return EmbedOptions(
        task=task,
        prefix=prefix,
        long_text=cast("LongText", long_text),
        max_tokens=vectors.max_tokens,
        overlap=vectors.overlap,
        precision=cast("Precision", one_of(vectors.precision, options.PRECISIONS, "--precision")),
        normalize=not vectors.no_normalize,
        batch_tokens=model.batch_tokens,
        batch_size=model.batch_size,
    )


def task_and_prefix(flags: TaskFlags) -> tuple[str, str | None]:
    """Return the task, and a prefix that replaces the task's or None.

    Raises:
        InvalidOption: two of the flags exclude each other.
    """
    prefix, no_prefix, task = flags.prefix, flags.no_prefix, flags.task
    if prefix is not None and no_prefix:
        raise InvalidOption("--prefix and --no-prefix exclude each other; give one of them")
    asked = "--prefix" if prefix is not None else "--no-prefix" if no_prefix else None
    if asked and task is not None:
        typed = {"prefix", "no_prefix"} & flags.given
        if "task" not in flags.given and typed:
            task = None  # a flag wins over EMBED_TASK
        elif "task" in flags.given and not typed:
            prefix, no_prefix = None, False  # and over EMBED_PREFIX
        else:
            raise InvalidOption(f"{asked} and --task exclude each other; give one of them")
    if no_prefix:
        return "none", ""
    return task or "document", prefix


def open_embedder(flags: ModelFlags, run: SayFlags) -> "Embedder":
    """Load the model.

    Raises:
        ModelNotFound: it is not on this machine.
        InvalidOption: variant or dim do not exist.
        MemoryBudgetError: `--max-memory` cannot be met.
    """
    variant = VARIANT_ALIASES.get(flags.variant, flags.variant)
    variant = one_of(variant, options.VARIANT_NAMES, "--variant")
    memory = flags.max_memory
    from embedge.models.store import default_model
    from embedge.runtime.embedder import Embedder

    show_warnings_as_lines(quiet=run.quiet)
    embedder = Embedder.from_pretrained(
        flags.model or default_model(),
        variant=variant,
        dim=flags.dim,
        threads=flags.threads,
        max_memory=size_in_bytes(memory, "--max-memory") if memory else None,
        offline=run.offline or None,
        cache_dir=flags.cache_dir,
    )
    if run.verbose:
        say(f"{embedder.model} {embedder.variant}: {embedder.loaded.reason}")
    _warn_if_untrained(embedder)
    return embedder


def _warn_if_untrained(embedder: "Embedder") -> None:
    manifest = embedder.loaded.bundle.manifest
    trained = manifest.matryoshka
    if trained and embedder.dim not in trained:
        from embedge.models.quality_record import what_a_cut_costs

        sizes = ", ".join(map(str, trained))
        measured = what_a_cut_costs(manifest, embedder.variant, embedder.dim)
        around = f" (measured around it: {measured})" if measured else ""
        warnings.warn(
            f"dim {embedder.dim} is no trained size of {embedder.model} ({sizes}), so its quality "
            f"was not measured{around}; the next larger trained size is the safe choice",
            stacklevel=2,
        )


def running_space(embedder: "Embedder", options: EmbedOptions) -> Space:
    """Return the space of the vectors that these options give."""
    space = embedder.space
    return Space(replace(space.identity, normalized=options.normalize), space.short_name)


def task_label(options: EmbedOptions, prompts: Mapping[str, str]) -> str:
    """Return the task that a text without its own prefix gets."""
    if options.prefix is None:
        return options.task
    return custom_task(options.prefix, prompts)


def vector_width(embedder: "Embedder", options: EmbedOptions) -> int:
    """Return the number of stored elements per vector; `ubinary` packs eight features into one."""
    return embedder.dim // 8 if options.precision == "ubinary" else embedder.dim
