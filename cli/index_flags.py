"""What the commands around the index share: which file, which collections, which model."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from embedge.cli import SOME_FAILED, options
from embedge.cli.interrupt import cancelling
from embedge.cli.messages import say, show_warnings_as_lines
from embedge.cli.options import (
    MODEL,
    CacheDir,
    Json,
    Model,
    NoColor,
    Progress,
    Quiet,
    Threads,
    VariantName,
    Verbose,
    Yes,
    option,
)
from embedge.cli.progress_bar import progress_form, show_progress
from embedge.cli.values import one_of
from embedge.models.space import VARIANT_ALIASES

if TYPE_CHECKING:
    from embedge.runtime.cancel import CancelToken
    from embedge.runtime.index import Index, Plan, UpdateReport
    from embedge.runtime.progress import ProgressCallback

INDEX = "Index"

Collections = Annotated[
    list[str],
    option(
        "--collection", "-C", help="Only this collection (repeatable).",
        panel=INDEX, metavar="NAME",
    ),
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class IndexFlags:
    """Which index, and how the command speaks."""

    db: Annotated[
        Path | None,
        option(
            "--db", help="Index file; default: the user's own.", panel=INDEX, metavar="FILE"
        ),
    ] = None  # fmt: skip
    progress: Progress = "auto"
    quiet: Quiet = False
    verbose: Verbose = 0
    json: Json = False
    no_color: NoColor = False


@dataclass(frozen=True, kw_only=True)
class IndexModelFlags:
    """The model; without flags every collection uses its own, whatever the default is."""

    model: Model = None
    variant: VariantName = "auto"
    dim: Annotated[
        int | None,
        option(
            "--dim", "-d", "--dimensions", "--truncate-dim", help="Length of the vectors.",
            panel=MODEL, metavar="N", min=1,
        ),
    ] = None  # fmt: skip
    threads: Threads = None
    cache_dir: CacheDir = None
    given: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class CutFlags:
    """How files are cut into passages."""

    max_tokens: options.MaxTokens = None
    overlap: options.Overlap = None


@dataclass(frozen=True, kw_only=True)
class ConsentFlags:
    """Whether to ask before much is embedded."""

    yes: Yes = False


@dataclass(frozen=True, kw_only=True)
class CollectionFlags:
    """Which collections."""

    collection: Collections = field(default_factory=list)


@contextmanager
def the_index(
    flags: IndexFlags, model: IndexModelFlags | None = None, *, readonly: bool = False
) -> "Iterator[Index]":
    """Open the index that the flags name.

    A model counts as asked for only when it was typed: a variable or a setting is the default of
    new collections, and no reason to refuse an old one.
    """
    from embedge.runtime.index import open_index
    from embedge.runtime.index.space_models import NewSet

    show_warnings_as_lines(quiet=flags.quiet)
    model = model or IndexModelFlags()
    variant = VARIANT_ALIASES.get(model.variant, model.variant)
    one_of(variant, options.VARIANT_NAMES, "--variant")
    typed = model.given
    index = open_index(
        flags.db,
        readonly=readonly,
        model=model.model if "model" in typed else None,
        variant=variant if "variant" in typed and variant != "auto" else None,
        dim=model.dim if "dim" in typed else None,
        threads=model.threads,
        cache_dir=model.cache_dir,
        new_set=NewSet(model=model.model, variant=variant, dim=model.dim),
    )
    with index:
        yield index


@contextmanager
def index_run(
    flags: IndexFlags, model: IndexModelFlags
) -> "Iterator[tuple[Index, ProgressCallback | None, CancelToken]]":
    """Open the index for work that takes a while: it shows progress, and a signal cancels it."""
    from embedge.runtime.cancel import CancelToken

    form = progress_form(flags.progress, quiet=flags.quiet)
    cancel = CancelToken()
    with (
        the_index(flags, model) as opened,
        show_progress(form, no_color=flags.no_color) as callback,
        cancelling(cancel),
    ):
        yield opened, callback, cancel


def exit_if_files_failed(reports: "Sequence[UpdateReport]", index: IndexFlags) -> None:
    """End the command with its own exit code where a run could not read some files."""
    if any(report.errors for report in reports):
        if not index.quiet:
            say("some files could not be read; see `embed index status --errors`")
        raise typer.Exit(SOME_FAILED)


def asks(consent: ConsentFlags) -> "Callable[[Plan], bool] | Literal[True] | None":
    """Return who says yes to a plan: a flag, whoever sits at the terminal, or nobody."""
    if consent.yes:
        return True
    if not _is_terminal():
        return None

    def ask(plan: "Plan") -> bool:
        from embedge.cli.index_tables import plan_lines

        for line in plan_lines(plan):
            say(line)
        return typer.confirm("Go on?", default=False, err=True)

    return ask


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
