"""The Typer application: a table of command modules, each with `register(app)`.

To add a command: write `cli/NAME.py` with `def register(app: typer.Typer) -> None`, and add one
line to `COMMAND_MODULES`. Modules import nothing heavy at the top (not numpy, not ONNX Runtime,
not rich), so that `embed --help` stays quick; flags come from `embedge.cli.options`.
"""

from importlib import import_module
from typing import Annotated

import typer
from typer.core import TyperGroup

from embedge.cli.plain_help import PlainGroup

# In the order of `embed --help`.
COMMAND_MODULES: tuple[str, ...] = (
    "embedge.cli.text",
    "embedge.cli.files",
    "embedge.cli.chunk",
    "embedge.cli.similar",
    "embedge.cli.index",
    "embedge.cli.search",
    "embedge.cli.serve",
    "embedge.cli.mcp",
    "embedge.cli.models",
    "embedge.cli.export",
    "embedge.cli.quantize",
    "embedge.cli.eval",
    "embedge.cli.bench",
    "embedge.cli.doctor",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from embedge import __version__

        typer.echo(f"embedge {__version__}")
        raise typer.Exit


def _top(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Embed text on this machine's CPU: texts, files and folders to vectors.

    `embed PATH...` is short for `embed files PATH...`.
    """


COMMANDS = tuple(module.rpartition(".")[2] for module in COMMAND_MODULES)
"""Names of the commands: each module is named like its command."""

ALIASES = {"query": "search"}
"""Other names of commands, as people know them from other tools."""


def build_app(only: str | None = None) -> typer.Typer:
    """Make the application with every command of the table, or with one of them."""
    app = typer.Typer(
        cls=PlainGroup,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(_top)
    for name, module in zip(COMMANDS, COMMAND_MODULES, strict=True):
        if only in (None, name):
            import_module(module).register(app)
    return app


def build_group(only: str | None = None) -> TyperGroup:
    """Build the application and turn it into the command group that parses arguments.

    Args:
        only: build just this command, which starts in half the time.
    """
    group = typer.main.get_command(build_app(only))
    assert isinstance(group, TyperGroup)
    return group
