"""`embed index export` and `import`: an index to carry away, or GPT4All's LocalDocs."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from embedge.cli.flag_groups import with_flags
from embedge.cli.index_flags import (
    INDEX,
    ConsentFlags,
    IndexFlags,
    IndexModelFlags,
    the_index,
)
from embedge.cli.index_localdocs import export_localdocs_command, import_localdocs_command
from embedge.cli.options import option
from embedge.cli.plain_help import PlainCommand
from embedge.models.errors import InvalidOption


@dataclass(frozen=True, kw_only=True)
class LocalDocsExportFlags:
    """Another program's form of the index."""

    localdocs: Annotated[
        Path | None,
        option(
            "--localdocs", help="Write GPT4All's localdocs_v3.db into DIR instead.",
            panel=INDEX, metavar="DIR",
        ),
    ] = None  # fmt: skip
    vectors: Annotated[
        str,
        option(
            "--vectors", help="With --localdocs: none (default; the app embeds) or ours.",
            panel=INDEX, metavar="WHICH", choices=("none", "ours"),
        ),
    ] = "none"  # fmt: skip
    given: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class LocalDocsImportFlags:
    """Another program's index."""

    localdocs: Annotated[
        Path | None,
        option(
            "--localdocs", help="Take over GPT4All's localdocs_v3.db instead; it is only read.",
            panel=INDEX, metavar="DB",
        ),
    ] = None  # fmt: skip


def register(index: typer.Typer) -> None:
    """Add the two commands."""
    index.command("export", cls=PlainCommand)(with_flags(export_command))
    index.command("import", cls=PlainCommand)(with_flags(import_command))


def export_command(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="New file to write.")] = None,
    *,
    peer: LocalDocsExportFlags,
    index: IndexFlags,
) -> None:
    """Write a compact copy of the whole index, vectors included; or GPT4All's LocalDocs."""
    if (file is None) == (peer.localdocs is None):
        raise InvalidOption("name either a new FILE or --localdocs DIR")
    if peer.localdocs is not None:
        export_localdocs_command(peer.localdocs, peer.vectors, index)
        return
    if "vectors" in peer.given:
        raise InvalidOption("--vectors belongs to --localdocs; a copy always holds the vectors")
    assert file is not None
    from embedge.runtime.index.portable import export_copy

    with the_index(index, readonly=True) as opened:
        size = export_copy(opened.path, file.expanduser().absolute())
    if index.json:
        print(json.dumps({"file": str(file), "bytes": size}, ensure_ascii=False))
    else:
        print(f"{file}: {size:,} bytes")


def import_command(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A file that `export` wrote.")
    ] = None,
    *,
    peer: LocalDocsImportFlags,
    model: IndexModelFlags,
    consent: ConsentFlags,
    index: IndexFlags,
) -> None:
    """Take in the collections of another index, or the folders of GPT4All's LocalDocs.

    Vectors of another index are shared and nothing is embedded. LocalDocs' vectors are of another
    model, so its folders are read and embedded anew; the model and --yes count only there.
    """
    if (file is None) == (peer.localdocs is None):
        raise InvalidOption("name either a FILE that `embed index export` wrote or --localdocs DB")
    if peer.localdocs is not None:
        import_localdocs_command(peer.localdocs, model, consent, index)
        return
    assert file is not None
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
