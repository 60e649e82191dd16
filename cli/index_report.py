"""`embed index status` and `ls`."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from embedge.cli.flag_groups import with_flags
from embedge.cli.index_flags import INDEX, CollectionFlags, IndexFlags, the_index
from embedge.cli.options import option
from embedge.cli.plain_help import PlainCommand


def register(index: typer.Typer) -> None:
    """Add the two commands."""
    index.command("status", cls=PlainCommand)(with_flags(status_command))
    index.command("ls", cls=PlainCommand)(with_flags(ls_command))


def status_command(
    errors: Annotated[
        bool, option("--errors", help="List the files that are not indexed, and why.", panel=INDEX)
    ] = False,
    *,
    index: IndexFlags,
) -> None:
    """Say what the index holds: files by state, passages, what is pending, folders that are away.

    With --json, everything.
    """
    from embedge.cli.index_tables import status_lines

    with the_index(index) as opened:
        status = opened.status(errors=errors)
    if index.json:
        print(json.dumps(status.as_dict(), indent=1, ensure_ascii=False))
        return
    for line in status_lines(status):
        print(line)


def ls_command(*, which: CollectionFlags, index: IndexFlags) -> None:
    """List the files with their state and number of passages."""
    from embedge.cli.index_tables import file_line

    with the_index(index) as opened:
        entries = opened.ls(which.collection or None)
    if index.json:
        print(json.dumps([asdict(entry) for entry in entries], ensure_ascii=False))
        return
    for entry in entries:
        print(file_line(entry))
