"""`embed search`, also `embed query`: passages of the index, by meaning and by words."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from embedge.cli.flag_groups import with_flags
from embedge.cli.index_flags import INDEX, CollectionFlags, IndexFlags, IndexModelFlags, the_index
from embedge.cli.options import OUTPUT, option
from embedge.cli.plain_help import PlainCommand
from embedge.cli.values import one_of
from embedge.models.errors import InvalidOption

if TYPE_CHECKING:
    from embedge.runtime.index import Hit

FORMATS = ("table", "json", "jsonl", "csv", "md", "files")
MODES = ("hybrid", "vector", "text")


def register(app: typer.Typer) -> None:
    """Add `embed search`."""
    app.command("search", cls=PlainCommand)(with_flags(search_command))


@dataclass(frozen=True, kw_only=True)
class SearchFlags:
    """What is found, and how it is shown."""

    limit: Annotated[
        int,
        option("--limit", "-n", help="Most hits; default: 10.", panel=INDEX, metavar="N", min=1),
    ] = 10
    all: Annotated[bool, option("--all", help="Every hit, best with --min-score.", panel=INDEX)] = (
        False
    )
    mode: Annotated[
        str,
        option(
            "--mode", help="hybrid (default), vector (by meaning) or text (by words).",
            panel=INDEX, metavar="HOW", choices=MODES,
        ),
    ] = "hybrid"  # fmt: skip
    min_score: Annotated[
        float | None,
        option("--min-score", help="Least cosine of a hit.", panel=INDEX, metavar="COSINE"),
    ] = None
    path: Annotated[
        str | None,
        option("--path", help="Only files that match.", panel=INDEX, metavar="GLOB"),
    ] = None
    explain: Annotated[
        bool, option("--explain", help="Say why each hit was found.", panel=INDEX)
    ] = False
    format: Annotated[
        str,
        option(
            "--format", "-f", help="table (default), json, jsonl, csv, md or files.",
            panel=OUTPUT, metavar="NAME", choices=FORMATS,
        ),
    ] = "table"  # fmt: skip


def search_command(
    query: Annotated[
        list[str], typer.Argument(metavar="QUERY", help="Words or a question, in any language.")
    ],
    *,
    search: SearchFlags,
    which: CollectionFlags,
    model: IndexModelFlags,
    index: IndexFlags,
) -> None:
    """Find passages in the indexed folders, by meaning and by words.

    Each collection is searched with the model it was embedded with.
    """
    format = "json" if index.json else one_of(search.format, FORMATS, "--format")
    mode = one_of(search.mode, MODES, "--mode")
    wanted = " ".join(query)
    if not wanted.strip():
        raise InvalidOption("the query is empty; say what to look for")
    with the_index(index, model) as opened:
        hits = opened.search(
            wanted,
            limit=None if search.all else search.limit,
            mode="vector" if mode == "vector" else "text" if mode == "text" else "hybrid",
            collections=which.collection or None,
            min_score=search.min_score,
            path=search.path,
            explain=search.explain,
        )
    sys.stdout.write(_show(hits, format))
    if not hits and format == "table" and not index.quiet:
        print("embed: no hits", file=sys.stderr)


def _show(hits: "Sequence[Hit]", format: str) -> str:
    from embedge.cli import hit_formats

    form = {
        "table": hit_formats.as_table,
        "json": hit_formats.as_json,
        "jsonl": hit_formats.as_json_lines,
        "csv": hit_formats.as_csv,
        "md": hit_formats.as_markdown,
        "files": hit_formats.as_files,
    }[format]
    return form(hits)
