"""`embed index add`, `update` and `plan`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedge.cli.flag_groups import with_flags
from embedge.cli.index_flags import (
    INDEX,
    CollectionFlags,
    ConsentFlags,
    CutFlags,
    IndexFlags,
    IndexModelFlags,
    asks,
    exit_if_files_failed,
    index_run,
    the_index,
)
from embedge.cli.interrupt import cancelling
from embedge.cli.messages import say
from embedge.cli.options import WalkFlags, option
from embedge.cli.plain_help import PlainCommand
from embedge.cli.progress_bar import progress_form, show_progress
from embedge.cli.values import size_in_bytes
from embedge.models.errors import InvalidOption

if TYPE_CHECKING:
    from embedge.runtime.index import Selection, UpdateReport


def register(index: typer.Typer) -> None:
    """Add the three commands."""
    index.command("add", cls=PlainCommand)(with_flags(add_command))
    index.command("update", cls=PlainCommand)(with_flags(update_command))
    index.command("plan", cls=PlainCommand)(with_flags(plan_command))


@dataclass(frozen=True, kw_only=True)
class AddFlags(CutFlags):
    """Where a folder goes, and how it is cut."""

    collection: Annotated[
        str | None,
        option(
            "--collection", "-C", help="Collection; default: the folder's name.",
            panel=INDEX, metavar="NAME",
        ),
    ] = None  # fmt: skip
    replaces: Annotated[
        Path | None,
        option(
            "--replaces", help="OLD is a folder of the index that lies at PATH now.",
            panel=INDEX, metavar="OLD",
        ),
    ] = None  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MoveFlags:
    """What a collection changes to."""

    to: Annotated[
        str | None,
        option(
            "--to", help="Move to this model; the old vectors serve until the new are complete.",
            panel=INDEX, metavar="MODEL",
        ),
    ] = None  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class UpdateFlags(MoveFlags):
    """What an update looks at."""

    rescan: Annotated[
        bool, option("--rescan", help="Hash every file, whatever its time says.", panel=INDEX)
    ] = False
    accept_empty: Annotated[
        list[Path],
        option(
            "--accept-empty", help="This folder was really emptied (repeatable).",
            panel=INDEX, metavar="ROOT",
        ),
    ] = field(default_factory=list)  # fmt: skip


def add_command(
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="Folders.")],
    *,
    where: AddFlags,
    walk: WalkFlags,
    model: IndexModelFlags,
    consent: ConsentFlags,
    index: IndexFlags,
) -> None:
    """Take folders into the index and embed their files.

    Asks when more than 2,000 passages or 10 minutes would be embedded; without a terminal, say
    --yes.
    """
    from embedge.runtime.cancel import CancelToken

    if where.replaces is not None and len(paths) != 1:
        raise InvalidOption("--replaces OLD takes the one PATH where that folder lies now")
    form = progress_form(index.progress, quiet=index.quiet)
    reports = []
    cancel = CancelToken()
    with the_index(index, model) as opened, cancelling(cancel):
        for path in paths:
            with show_progress(form, no_color=index.no_color) as callback:
                report = opened.add(
                    path,
                    where.collection,
                    selection=_selection(walk),
                    replaces=where.replaces,
                    max_tokens=where.max_tokens,
                    overlap=where.overlap,
                    confirm=asks(consent),
                    progress=callback,
                    cancel=cancel,
                )
            reports.append(report)
    _finish(reports, index)


def update_command(
    *,
    which: CollectionFlags,
    update: UpdateFlags,
    cut: CutFlags,
    model: IndexModelFlags,
    consent: ConsentFlags,
    index: IndexFlags,
) -> None:
    """Look for changes and embed what is new.

    Nothing is embedded twice: not what moved, was renamed, or comes back with a drive. A drive
    that is away deletes nothing.
    """
    if update.to is not None and "model" in model.given:
        raise InvalidOption("--to and --model both name a model; give --to alone")
    with index_run(index, model) as (opened, callback, cancel):
        report = opened.update(
            which.collection or None,
            to=update.to,
            max_tokens=cut.max_tokens,
            overlap=cut.overlap,
            rescan=update.rescan,
            accept_empty=update.accept_empty,
            confirm=asks(consent),
            progress=callback,
            cancel=cancel,
        )
    _finish([report], index)


def plan_command(
    *,
    which: CollectionFlags,
    move: MoveFlags,
    cut: CutFlags,
    model: IndexModelFlags,
    index: IndexFlags,
) -> None:
    """Say what an update would do: files, passages, tokens, time and bytes; write nothing."""
    from embedge.cli.index_tables import plan_lines

    with index_run(index, model) as (opened, callback, cancel):
        plan = opened.plan(
            which.collection or None,
            to=move.to,
            max_tokens=cut.max_tokens,
            overlap=cut.overlap,
            progress=callback,
            cancel=cancel,
        )
    if index.json:
        print(json.dumps(plan.as_dict(), indent=1, ensure_ascii=False))
        return
    for line in plan_lines(plan):
        print(line)


def _selection(walk: WalkFlags) -> "Selection | None":
    """Return what the flags choose, None where none was given."""
    from embedge.runtime.index import Selection

    if walk == WalkFlags():
        return None
    default = WalkFlags().max_file_size
    limit = None if walk.max_file_size == default else walk.max_file_size
    return Selection(
        include=tuple(walk.include),
        exclude=tuple(walk.exclude),
        gitignore=walk.gitignore,
        hidden=walk.hidden,
        follow_symlinks=walk.follow_symlinks,
        max_file_size=size_in_bytes(limit, "--max-file-size") if limit else None,
        encoding=walk.encoding,
    )


def _finish(reports: "Sequence[UpdateReport]", index: IndexFlags) -> None:
    from embedge.cli.index_tables import report_line

    if index.json:
        reported = [asdict(report) for report in reports]
        print(json.dumps(reported[0] if len(reported) == 1 else reported, ensure_ascii=False))
    for report in reports:
        if not index.quiet:
            for warning in report.warnings:
                say(f"warning: {warning}")
        if not index.json:
            print(report_line(report))
    exit_if_files_failed(reports, index)
