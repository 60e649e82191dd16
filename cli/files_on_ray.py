"""`embed files --runner ray`: a large corpus on many workers, into a folder of Parquet files."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from embedge.cli import SOME_FAILED
from embedge.cli.documents import FileList
from embedge.cli.embed_options import EmbedOptions, embed_options
from embedge.cli.messages import say
from embedge.cli.options import (
    INPUT,
    RUN,
    ModelFlags,
    OutputFlags,
    RunFlags,
    VectorFlags,
    option,
)
from embedge.cli.progress_bar import progress_form, show_progress
from embedge.cli.values import one_of
from embedge.models.errors import InvalidOption

if TYPE_CHECKING:
    from embedge.runtime.scale import Report, ScaleOptions

RUNNERS = ("local", "ray")


@dataclass(frozen=True, kw_only=True)
class ScaleFlags:
    """Where a large corpus is embedded, and whether it is files or rows."""

    runner: Annotated[
        str,
        option(
            "--runner",
            help="local (default), or ray: many workers, OUT is a folder of Parquet files.",
            panel=RUN, metavar="NAME", choices=RUNNERS,
        ),
    ] = "local"  # fmt: skip
    workers: Annotated[
        int | None,
        option(
            "--workers", help="With ray: worker processes; default: the cluster's cores.",
            panel=RUN, metavar="N", min=1,
        ),
    ] = None  # fmt: skip
    field: Annotated[
        str | None,
        option(
            "--field", help="With ray: rows of .jsonl and .parquet; the text is in this field.",
            panel=INPUT, metavar="NAME",
        ),
    ] = None  # fmt: skip
    id_field: Annotated[
        str | None,
        option("--id-field", help="The id is in this field.", panel=INPUT, metavar="NAME"),
    ] = None
    given: frozenset[str] = frozenset()

    def require_no_rows(self) -> None:
        """Refuse what only many workers do; variables may be meant for other commands.

        Raises:
            InvalidOption: rows or workers were asked for in one process.
        """
        one_of(self.runner, RUNNERS, "--runner")
        if self.given & {"field", "id_field"}:
            raise InvalidOption(
                "--field goes with --runner ray; in one process it is `embed text -i FILE --field`"
            )
        if "workers" in self.given:
            raise InvalidOption("--workers goes with --runner ray; one process has --threads")


def embed_on_ray(
    files: FileList,
    scale: ScaleFlags,
    vectors: VectorFlags,
    model: ModelFlags,
    output: OutputFlags,
    run: RunFlags,
) -> None:
    """Embed a list of files, or their rows, on Ray.

    Raises:
        InvalidOption: flags that do not go together.
        typer.Exit: code 3, an input failed.
        EmbedgeError: as `embedge.runtime.scale.embed_corpus`.
    """
    one_of(scale.runner, RUNNERS, "--runner")
    checked = embed_options(
        vectors, model, default_long_text="chunk" if scale.field is None else "mean"
    )
    options = _scale_options(checked, files, model, output)
    _check(scale, output, run)
    report = _run(files, options, scale, output, run)
    counts = report.counts
    if not run.quiet:
        parts = f"{report.embedded_shards} of {report.shards} parts written now"
        say(f"{report.out}: {counts.vectors} vectors, {counts.tokens} tokens; {parts}")
    if counts.failed:
        if not run.quiet:
            say(f"{counts.failed} inputs failed; their rows have `error`")
        raise typer.Exit(SOME_FAILED)


def _check(scale: ScaleFlags, output: OutputFlags, run: RunFlags) -> None:
    if output.output is None:
        raise InvalidOption("--runner ray writes a folder of Parquet files; name it with -o OUT")
    if output.format not in (None, "parquet"):
        raise InvalidOption(f"--runner ray writes --format parquet only, not {output.format}")
    if not run.keep_going:
        raise InvalidOption("--fail-fast does not go with --runner ray; failed inputs are rows")
    if scale.id_field is not None and scale.field is None:
        raise InvalidOption("--id-field needs --field, the field that holds the text")


def _scale_options(
    options: EmbedOptions, files: FileList, model: ModelFlags, output: OutputFlags
) -> "ScaleOptions":
    from embedge.models.store import default_model
    from embedge.runtime.scale import ScaleOptions

    return ScaleOptions(
        model=model.model or default_model(),
        cache_dir=None if model.cache_dir is None else str(model.cache_dir.absolute()),
        variant=model.variant,
        dim=model.dim,
        task=options.task,
        prefix=options.prefix,
        long_text=options.long_text,
        max_tokens=options.max_tokens,
        overlap=options.overlap,
        precision=options.precision,
        normalize=options.normalize,
        batch_tokens=options.batch_tokens,
        batch_size=options.batch_size,
        threads=model.threads or 1,
        max_memory=model.max_memory,
        store_text=output.store_text,
        encoding=files.encoding,
        max_file_size=files.max_file_size,
    )


def _run(
    files: FileList,
    options: "ScaleOptions",
    scale: ScaleFlags,
    output: OutputFlags,
    run: RunFlags,
) -> "Report":
    from embedge.runtime.scale import RowSource, embed_corpus, run_on_ray

    assert output.output is not None
    form = progress_form(run.progress, quiet=run.quiet)
    with show_progress(form, no_color=run.no_color) as callback:
        return embed_corpus(
            files.items,
            output.output,
            options,
            rows=None if scale.field is None else RowSource(scale.field, scale.id_field),
            resume=output.resume,
            run=lambda job, shards: run_on_ray(job, shards, workers=scale.workers),
            progress=callback,
        )
