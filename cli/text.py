"""`embed text`: texts from the command line, a file or stdin to vectors."""

import hashlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from embedge.cli.bulk import RowForm, Rows
from embedge.cli.chunking import Chunker
from embedge.cli.documents import read_whole
from embedge.cli.embed_command import EmbedJob, run_embedding
from embedge.cli.embed_options import EmbedOptions, embed_options
from embedge.cli.flag_groups import with_flags
from embedge.cli.options import (
    INPUT,
    OUTPUT,
    Content,
    InputFile,
    Lines,
    ModelFlags,
    OutputFlags,
    RunFlags,
    VectorFlags,
    option,
)
from embedge.cli.output.resume import Finished
from embedge.cli.output.session import OutputSession, choose_output
from embedge.cli.plain_help import PlainCommand
from embedge.cli.records import FailedInput, Input, TextInput, speakable
from embedge.cli.values import json_object, size_in_bytes
from embedge.models.errors import InputError, InvalidOption

if TYPE_CHECKING:
    from embedge.runtime.embedder import Embedder

_MAX_SIZE = "64MiB"

# Bytes of an argument that are no UTF-8 arrive as such characters.
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class TextFlags:
    """Where the texts come from."""

    content: Content = dataclass_field(default_factory=list)
    input: InputFile = None
    lines: Lines = False
    field: Annotated[
        str | None,
        option(
            "--field", help="The input is JSON Lines; the text is in this field.",
            panel=INPUT, metavar="NAME",
        ),
    ] = None  # fmt: skip
    id_field: Annotated[
        str | None,
        option("--id-field", help="The id is in this field.", panel=INPUT, metavar="NAME"),
    ] = None
    encoding: Annotated[
        str | None,
        option(
            "--encoding", help="Encoding of the input; default: UTF-8.", panel=INPUT, metavar="NAME"
        ),
    ] = None
    max_file_size: Annotated[
        str,
        option(
            "--max-file-size", help="A longer input or row is a failed one; default: 64MiB.",
            panel=INPUT, metavar="SIZE",
        ),
    ] = _MAX_SIZE  # fmt: skip
    id: Annotated[
        str | None,
        option("--id", help="Id of the record (one text only).", panel=OUTPUT, metavar="TEXT"),
    ] = None
    metadata: Annotated[
        str | None,
        option(
            "--metadata", help="JSON object for the field `metadata`.",
            panel=OUTPUT, metavar="JSON",
        ),
    ] = None  # fmt: skip

    @property
    def bulk(self) -> bool:
        """True if every row of the input is a text."""
        return self.lines or self.field is not None


def text_command(
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="Texts; none, or -, reads stdin."),
    ] = None,
    *,
    source: TextFlags,
    model: ModelFlags,
    vectors: VectorFlags,
    output: OutputFlags,
    run: RunFlags,
) -> None:
    """Embed texts: arguments, a file, or stdin.

    One text prints one JSON array of numbers; several print one JSON record per line. With
    --lines or --field every row of the input is a text; millions of rows stream in flat memory.
    """
    given = [*(texts or []), *source.content]
    _check(source, given)
    options = embed_options(vectors, model, default_long_text="mean")
    reads_input = source.input is not None or "-" in given or not given
    count = len(given) + (source.input is not None or not given)
    single = count == 1 and not source.bulk and options.long_text != "chunk"
    if source.id is not None and not single:
        raise InvalidOption("--id needs exactly one text; leave it out, or use --id-field")
    choice = choose_output(output, default_format="json" if single else "jsonl", single=single)
    if reads_input and source.input in (None, "-"):
        _require_pipe()
    form = RowForm(
        field=source.field,
        id_field=source.id_field,
        encoding=source.encoding,
        max_bytes=size_in_bytes(source.max_file_size, "--max-file-size"),
    )
    metadata = json_object(source.metadata, "--metadata") if source.metadata else None
    reader = _TextReader(given, source, form, options)
    run_embedding(
        EmbedJob(
            options=options,
            choice=choice,
            read=reader.inputs,
            chunk_total=None if source.bulk else count,
            store_text=output.store_text,
            metadata=metadata,
            fixed={
                "command": "text",
                "lines": source.lines,
                "field": source.field,
                "id_field": source.id_field,
                "encoding": source.encoding,
            },
        ),
        model,
        run,
    )


def register(app: typer.Typer) -> None:
    """Add `embed text`."""
    app.command("text", cls=PlainCommand)(with_flags(text_command))


def _check(source: TextFlags, given: list[str]) -> None:
    if source.lines and source.field is not None:
        raise InvalidOption("--lines and --field exclude each other; give one of them")
    if source.id_field is not None and source.field is None:
        raise InvalidOption("--id-field needs --field, the field that holds the text")
    flag = "--lines" if source.lines else "--field"
    if source.bulk and given not in ([], ["-"]):
        raise InvalidOption(f"{flag} reads -i FILE or stdin; texts as arguments do not go with it")
    if source.bulk and given == ["-"] and source.input not in (None, "-"):
        raise InvalidOption(f"{flag} reads one input; give -i FILE or -, not both")
    if [*given, source.input].count("-") > 1:
        raise InvalidOption("stdin can be read once; give - only once")


def _require_pipe() -> None:
    if _stdin_is_terminal():
        raise InvalidOption(
            'no text given; write `embed text "some text"`, name a file with -i, or send a pipe'
        )


def _stdin_is_terminal() -> bool:
    return sys.stdin is None or sys.stdin.isatty()


class _TextReader:
    """The inputs of `embed text`, read when they are needed."""

    def __init__(
        self, given: list[str], source: TextFlags, form: RowForm, options: EmbedOptions
    ) -> None:
        self._given, self._source, self._form = given, source, form
        self._options = options

    def inputs(self, embedder: "Embedder", session: OutputSession) -> Iterator[Input]:
        """Yield the inputs that are left, in order, and log what was read for the sidecar.

        Raises:
            InvalidOption: `--resume` finds another row where the last finished one was.
        """
        rows = self._rows(session) if self._source.bulk else self._texts(session)
        left = skip_finished(rows, session.finished)
        if self._options.long_text != "chunk":
            return left
        chunker = Chunker.of_embedder(embedder, self._options)
        return chain.from_iterable(chunker.pieces(one) for one in left)

    def _texts(self, session: OutputSession) -> Iterator[Input]:
        sources = [(text, text == "-") for text in self._given]
        if self._source.input is not None or not sources:
            sources.append((self._source.input or "-", True))
        for number, (text, is_input) in enumerate(sources):
            name = speakable(self._source.id or str(number))
            if is_input:
                yield self._whole(name, text, session)
            else:
                session.inputs.add_text(name, text)
                fields = {"id": name, "path": None}
                yield TextInput(_SURROGATE.sub("\ufffd", text), fields, own_prefix=True)

    def _rows(self, session: OutputSession) -> Iterator[Input]:
        path = self._source.input or "-"
        rows = Rows(path, self._form)
        yield from rows.inputs()
        session.inputs.add(speakable(path), rows.size, rows.sha256)

    def _whole(self, name: str, path: str, session: OutputSession) -> Input:
        try:
            text, data = read_whole(path, self._source.encoding, self._form.max_bytes)
        except InputError as error:
            return FailedInput(name, speakable(path), error.code, speakable(str(error)))
        session.inputs.add(speakable(path), len(data), hashlib.sha256(data).hexdigest())
        return TextInput(text, {"id": name, "path": speakable(path)})


def skip_finished(inputs: Iterator[Input], finished: Finished) -> Iterator[Input]:
    """Leave out the first inputs, which an earlier run has finished.

    Raises:
        InvalidOption: the last of them has another id than the last finished record.
    """
    for number, one in enumerate(inputs, start=1):
        if number > finished.inputs:
            yield one
        elif number == finished.inputs:
            found = one.id if isinstance(one, FailedInput) else str(one.fields["id"])
            if found != finished.last_id and not (finished.last_id or "").startswith(f"{found}#"):
                raise InvalidOption(
                    f"input {number - 1} has the id {found!r}, the unfinished output has "
                    f"{finished.last_id!r} there; --resume needs the same input"
                )
