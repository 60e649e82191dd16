"""`embed files`, also as `embed PATH`: files and folders to records."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedge.cli.chunking import Chunker
from embedge.cli.documents import list_files
from embedge.cli.embed_command import EmbedJob, run_embedding
from embedge.cli.embed_options import embed_options
from embedge.cli.files_on_ray import ScaleFlags, embed_on_ray
from embedge.cli.flag_groups import with_flags
from embedge.cli.folder_globs import FolderGlobCommand, FolderGlobs, folder_globs
from embedge.cli.options import (
    INPUT,
    ModelFlags,
    OutputFlags,
    RunFlags,
    VectorFlags,
    WalkFlags,
    option,
)
from embedge.cli.output.session import OutputSession, choose_output
from embedge.cli.records import Input
from embedge.models.errors import InvalidOption

if TYPE_CHECKING:
    from embedge.runtime.embedder import Embedder


def files_command(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATH", help="Files, folders, or - for stdin.")
    ] = None,
    files_of: FolderGlobs = None,
    replay: Annotated[
        Path | None,
        option(
            "--replay",
            help="Run FILE.manifest.json again and say whether inputs, space and bytes match.",
            panel=INPUT,
            metavar="FILE",
        ),
    ] = None,
    *,
    scale: ScaleFlags,
    walk: WalkFlags,
    vectors: VectorFlags,
    model: ModelFlags,
    output: OutputFlags,
    run: RunFlags,
) -> None:
    """Embed files and folders: one JSON record per passage.

    `embed PATH...` is the same. Files are cut into passages that fit the model; what cannot be
    read becomes a record with `error`, and the exit code is 3.
    """
    if replay is not None:
        from embedge.cli.replay import replay as run_again

        if paths or files_of:
            raise InvalidOption("--replay brings its own files; leave the paths out")
        return run_again(replay)
    if scale.runner != "local":
        files = list_files(paths or [], folder_globs(files_of), walk)
        return embed_on_ray(files, scale, vectors, model, output, run)
    scale.require_no_rows()
    options = embed_options(vectors, model, default_long_text="chunk")
    choice = choose_output(output, default_format="jsonl")
    files = list_files(paths or [], folder_globs(files_of), walk)

    def read(embedder: "Embedder", session: OutputSession) -> Iterator[Input]:
        chunker = Chunker.of_embedder(embedder, options) if options.long_text == "chunk" else None
        log = session.inputs if choice.path is not None else None
        return files.inputs(chunker, session.finished, log)

    run_embedding(
        EmbedJob(
            options=options,
            choice=choice,
            read=read,
            fixed={"command": "files", "encoding": walk.encoding},
            store_text=output.store_text,
            file_total=len(files.items),
            byte_total=files.byte_total,
        ),
        model,
        run,
    )


def register(app: typer.Typer) -> None:
    """Add `embed files`."""
    app.command("files", cls=FolderGlobCommand)(with_flags(files_command))
