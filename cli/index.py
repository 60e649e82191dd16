"""`embed index`: folders that can be searched, in one file."""

from importlib import import_module

import typer

from embedge.cli.plain_help import PlainGroup

# In the order of `embed index --help`; each module has `register(index)`.
SUBCOMMAND_MODULES: tuple[str, ...] = (
    "embedge.cli.index_update",
    "embedge.cli.index_watch",
    "embedge.cli.index_report",
    "embedge.cli.index_upkeep",
    "embedge.cli.index_copy",
    "embedge.cli.index_browse",
)


def register(app: typer.Typer) -> None:
    """Add `embed index` with its sub-commands."""
    index = typer.Typer(
        cls=PlainGroup,
        help="Index folders, and keep the index up to date.",
        no_args_is_help=True,
    )
    for module in SUBCOMMAND_MODULES:
        import_module(module).register(index)
    app.add_typer(index, name="index")
