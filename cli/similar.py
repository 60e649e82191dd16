"""`embed similar`: cosine similarity of every pair of texts."""

import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from embedge.cli.bulk import RowForm, Rows
from embedge.cli.documents import read_whole
from embedge.cli.embed_options import (
    EmbedOptions,
    embed_options,
    open_embedder,
    running_space,
    task_label,
)
from embedge.cli.flag_groups import with_flags
from embedge.cli.interrupt import cancelling
from embedge.cli.options import (
    OUTPUT,
    Content,
    InputFile,
    Lines,
    ModelFlags,
    Output,
    SayFlags,
    VectorFlags,
    option,
)
from embedge.cli.output.numbers import digits, json_array, json_text
from embedge.cli.output.target import alone_with, open_target
from embedge.cli.plain_help import PlainCommand
from embedge.cli.records import FailedInput
from embedge.cli.values import one_of, size_in_bytes
from embedge.models.errors import InputError, InvalidOption

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedge.runtime.embedder import Embedder

FORMATS = ("table", "json", "csv")
_TABLE_WIDTH = 80


@dataclass(frozen=True, kw_only=True)
class SimilarFlags:
    """Where the texts come from, and how the matrix is printed."""

    content: Content = field(default_factory=list)
    input: InputFile = None
    lines: Lines = False
    format: Annotated[
        str,
        option(
            "--format", "-f", help="table (default), json or csv.",
            panel=OUTPUT, metavar="NAME", choices=FORMATS,
        ),
    ] = "table"  # fmt: skip
    output: Output = None


def similar_command(
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help="Texts to compare, two or more.")
    ] = None,
    *,
    source: SimilarFlags,
    model: ModelFlags,
    vectors: VectorFlags,
    run: SayFlags,
) -> None:
    """Print the cosine similarity of every pair of texts.

    All texts are embedded with the same --task; `document` unless you say otherwise.
    """
    format = "json" if run.json else one_of(source.format, FORMATS, "--format")
    options = _check(embed_options(vectors, model, default_long_text="mean"))
    everything = [*(texts or []), *source.content]
    if source.input is not None or source.lines:
        everything += _read(source.input or "-", lines=source.lines)
    if len(everything) < 2:
        raise InvalidOption(
            f"{len(everything)} text to compare; give at least two, or a file with -i FILE"
        )
    with open_embedder(model, run) as embedder:
        matrix = _cosines(embedder, everything, options)
        space = running_space(embedder, options).fingerprint
        task = task_label(options, embedder.space.identity.prompts)
    if format == "json":
        body = _json(everything, matrix, space, task)
    else:
        body = _csv(matrix) if format == "csv" else _table(everything, matrix)
    with alone_with(source.output):
        target = open_target(source.output)
        target.write(body.encode("utf-8", "replace"))
        target.commit()


def _check(options: EmbedOptions) -> EmbedOptions:
    if options.long_text == "chunk":
        raise InvalidOption("--long-text chunk gives several vectors per text; use mean")
    if options.precision != "float32":
        raise InvalidOption(f"--precision {options.precision} is for stored vectors; leave it out")
    return options


def _cosines(
    embedder: "Embedder", texts: Sequence[str], options: EmbedOptions
) -> "NDArray[np.float32]":
    from embedge.runtime.cancel import CancelToken

    cancel = CancelToken()
    with cancelling(cancel):
        vectors = embedder.encode(
            texts,
            task=None if options.prefix is not None else options.task,
            prefix=options.prefix,
            normalize=options.normalize,
            long_text=options.long_text,
            max_tokens=options.max_tokens,
            overlap=options.overlap,
            batch_size=options.batch_size,
            batch_tokens=options.batch_tokens,
            cancel=cancel,
        )
    return embedder.similarity(vectors, vectors)


def register(app: typer.Typer) -> None:
    """Add `embed similar`."""
    app.command("similar", cls=PlainCommand)(with_flags(similar_command))


def _read(path: str, *, lines: bool) -> list[str]:
    if path == "-" and sys.stdin.isatty():
        raise InvalidOption("stdin is a terminal; name a file with -i FILE, or send a pipe")
    limit = size_in_bytes("64MiB", "--max-file-size")
    if not lines:
        return [read_whole(path, None, limit)[0]]
    found = []
    for one in Rows(path, RowForm(max_bytes=limit)).inputs():
        if isinstance(one, FailedInput):
            raise InputError(one.message, one.code)
        found.append(one.text)
    return found


def _json(texts: Sequence[str], matrix: "NDArray[np.float32]", space: str, task: str) -> str:
    head = json_text({"space": space, "task": task, "texts": list(texts)})
    rows = ",\n".join(json_array(row) for row in matrix)
    return f'{head[:-1]},"similarity":[\n{rows}\n]}}\n'


def _csv(matrix: "NDArray[np.float32]") -> str:
    body = io.StringIO()
    writer = csv.writer(body, lineterminator="\r\n")
    writer.writerow(["", *map(str, range(len(matrix)))])
    for number, row in enumerate(matrix):
        writer.writerow([str(number), *digits(row)])
    return body.getvalue()


def _table(texts: Sequence[str], matrix: "NDArray[np.float32]") -> str:
    """Lay out rows of numbers with the start of each text behind them, 80 columns if possible."""
    width = len(str(len(texts) - 1))
    lines = [" " * width + "".join(f"{column:>8}" for column in range(len(texts)))]
    room = max(12, _TABLE_WIDTH - len(lines[0]) - 2)
    for number, (text, row) in enumerate(zip(texts, matrix, strict=True)):
        shown = " ".join(text.split())
        label = shown if len(shown) <= room else f"{shown[: room - 1]}…"
        numbers = "".join(f"{value:8.4f}" for value in row)
        lines.append(f"{number:>{width}}{numbers}  {label}")
    return "\n".join(lines) + "\n"
