"""`embed index rm`, `verify` and `gc`."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from embedge.cli.flag_groups import with_flags
from embedge.cli.index_flags import INDEX, IndexFlags, IndexModelFlags, index_run, the_index
from embedge.cli.options import DryRun, option
from embedge.cli.plain_help import PlainCommand
from embedge.cli.values import seconds
from embedge.models.errors import IndexDamaged

_DAY_S = 86_400


def register(index: typer.Typer) -> None:
    """Add the three commands."""
    index.command("rm", cls=PlainCommand)(with_flags(rm_command))
    index.command("verify", cls=PlainCommand)(with_flags(verify_command))
    index.command("gc", cls=PlainCommand)(with_flags(gc_command))


def rm_command(
    name: Annotated[
        str, typer.Argument(metavar="NAME|PATH", help="A collection, or a folder or file of one.")
    ],
    *,
    index: IndexFlags,
) -> None:
    """Take a collection, folder or file out of the index; vectors stay until `gc`."""
    with the_index(index) as opened:
        count = opened.remove(name)
    if index.json:
        print(json.dumps({"removed": name, "files": count}, ensure_ascii=False))
    else:
        print(f"removed {name}: {count:,} files; their vectors stay until `embed index gc`")


def verify_command(
    deep: Annotated[
        bool, option("--deep", help="Embed a sample again and compare.", panel=INDEX)
    ] = False,
    *,
    model: IndexModelFlags,
    index: IndexFlags,
) -> None:
    """Check the index: SQLite's own tests, the full text, our hashes; exit 6 on a problem."""
    with index_run(index, model) as (opened, callback, cancel):
        report = opened.verify(deep=deep, progress=callback, cancel=cancel)
        path = opened.path
    if index.json:
        print(json.dumps(asdict(report), ensure_ascii=False))
    elif not report.problems:
        sample = f", {report.resampled} embedded again" if deep else ""
        print(f"ok  {report.chunks:,} passages, {report.vectors:,} vectors{sample}")
    if report.problems:
        raise IndexDamaged(
            f"{path}: {'; '.join(report.problems)}. Bring back a copy, or remove the file and add "
            "the folders again."
        )


def gc_command(
    grace: Annotated[
        str,
        option(
            "--grace", help="How long things are kept, as in 30d, 12h or 0d; default: 30d.",
            panel=INDEX, metavar="TIME",
        ),
    ] = "30d",
    dry_run: DryRun = False,
    *,
    index: IndexFlags,
) -> None:  # fmt: skip
    """Forget vectors without text, and files missing for longer than the grace time."""
    from embedge.cli.index_tables import gc_line

    grace_days = seconds(grace, "--grace", zero=True) / _DAY_S
    with the_index(index) as opened:
        report = opened.gc(grace_days=grace_days, dry_run=dry_run)
    print(json.dumps(asdict(report)) if index.json else gc_line(report))
