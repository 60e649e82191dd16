"""`embed index export` and `import`: an index to carry away, or GPT4All's LocalDocs."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from embedge.cli.flag_groups import with_flags
from embedge.cli.index_flags import IndexFlags, the_index
from embedge.cli.plain_help import PlainCommand


def register(index: typer.Typer) -> None:
    """Add the two commands."""
    index.command("export", cls=PlainCommand)(with_flags(export_command))
    index.command("import", cls=PlainCommand)(with_flags(import_command))


def export_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="New file to write.")],
    *,
    index: IndexFlags,
) -> None:
    """Write a compact copy of the whole index, vectors included."""
    from embedge.runtime.index.portable import export_copy

    with the_index(index, readonly=True) as opened:
        size = export_copy(opened.path, file.expanduser().absolute())
    if index.json:
        print(json.dumps({"file": str(file), "bytes": size}, ensure_ascii=False))
    else:
        print(f"{file}: {size:,} bytes")


def import_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `export` wrote.")],
    *,
    index: IndexFlags,
) -> None:
    """Take in the collections of another index; vectors are shared, nothing is embedded."""
    from embedge.runtime.index.portable import import_copy

    with the_index(index) as opened, opened.writing(create=True) as connection:
        taken = import_copy(connection, file.expanduser().absolute())
    if index.json:
        print(json.dumps(asdict(taken), ensure_ascii=False))
    else:
        print(
            f"{', '.join(taken.collections) or 'no collection'}: {taken.files:,} files, "
            f"{taken.chunks:,} passages, {taken.vectors:,} vectors"
        )
