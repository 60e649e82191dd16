"""`embed chunk`: the passages that `embed files` would embed, without vectors."""

from collections.abc import Iterator
from typing import Annotated

import typer

from embedge.cli import SOME_FAILED
from embedge.cli.chunking import Chunker
from embedge.cli.documents import list_files
from embedge.cli.embed_options import EmbedOptions, task_and_prefix
from embedge.cli.embed_run import until_first_failure
from embedge.cli.flag_groups import with_flags
from embedge.cli.folder_globs import FolderGlobCommand, FolderGlobs, folder_globs
from embedge.cli.messages import say
from embedge.cli.options import (
    OUTPUT,
    CacheDir,
    KeepGoing,
    MaxTokens,
    Model,
    Output,
    Overlap,
    SayFlags,
    StoreText,
    TaskFlags,
    WalkFlags,
    option,
)
from embedge.cli.output.json_records import JsonArray, JsonLines
from embedge.cli.output.resume import Finished
from embedge.cli.output.target import open_target
from embedge.cli.records import FailedInput, Input, Record, failure_record
from embedge.cli.values import one_of

FORMATS = ("jsonl", "json")


def chunk_command(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATH", help="Files, folders, or - for stdin.")
    ] = None,
    files_of: FolderGlobs = None,
    format: Annotated[
        str,
        option(
            "--format",
            "-f",
            help="jsonl (default) or json.",
            panel=OUTPUT,
            metavar="NAME",
            choices=FORMATS,
        ),
    ] = "jsonl",
    output: Output = None,
    store_text: StoreText = True,
    model: Model = None,
    cache_dir: CacheDir = None,
    max_tokens: MaxTokens = None,
    overlap: Overlap = None,
    keep_going: KeepGoing = True,
    *,
    walk: WalkFlags,
    task: TaskFlags,
    run: SayFlags,
) -> None:
    """Show the passages that files are cut into, without vectors.

    One JSON record per passage: offsets, lines, heading, tokens and text.
    """
    one_of(format, FORMATS, "--format")
    name, prefix = task_and_prefix(task)
    options = EmbedOptions(
        task=name, prefix=prefix, long_text="chunk", max_tokens=max_tokens, overlap=overlap
    )
    files = list_files(paths or [], folder_globs(files_of), walk)
    chunker = _open_chunker(model, cache_dir, options)
    inputs: Iterator[Input] = files.inputs(chunker, Finished(), None)
    if not keep_going:
        inputs = until_first_failure(inputs)
    target = open_target(output)
    writer = (JsonLines if format == "jsonl" else JsonArray)(target, {"single": False})
    failed = 0
    try:
        for one in inputs:
            writer.write(_record(one, store_text=store_text))
            if isinstance(one, FailedInput):
                failed += 1
                if not run.quiet:
                    say(f"{one.message} ({one.code})")
        writer.finish()
        target.commit()
    except BaseException:
        target.abandon(keep=False)
        raise
    if failed:
        raise typer.Exit(SOME_FAILED)


def register(app: typer.Typer) -> None:
    """Add `embed chunk`."""
    app.command("chunk", cls=FolderGlobCommand)(with_flags(chunk_command))


def _open_chunker(model: str | None, cache_dir: "CacheDir", options: EmbedOptions) -> Chunker:
    """Open tokenizer and manifest; the graph stays closed."""
    from embedge.models.bundle import open_bundle
    from embedge.models.store import cache_dir as default_cache_dir
    from embedge.models.store import default_model, find_model
    from embedge.runtime.tokens import Tokens

    folder = find_model(model or default_model(), cache_dir=cache_dir)
    bundle = open_bundle(folder, cache_dir=cache_dir or default_cache_dir())
    tokens = Tokens.from_file(bundle.tokenizer_path, bundle.manifest.identity.max_tokens)
    return Chunker(tokens, bundle.manifest, options)


def _record(one: Input, *, store_text: bool) -> Record:
    if isinstance(one, FailedInput):
        return failure_record(one)
    fields = dict(one.fields) | {"n_tokens": one.n_tokens, "truncated": False}
    if store_text:
        fields["text"] = one.text
    return Record(fields)
