"""Help in plain text, options grouped under headings; rich would double the start-up time."""

from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand, TyperGroup

_EPILOG = (
    "Every long option has a variable: EMBED_ and its name in capitals, as in "
    "EMBED_MAX_TOKENS=256. An option wins over its variable."
)

_ONE_SENTENCE = 500  # characters; longer than any first sentence


def _write_options(command: TyperCommand | TyperGroup, ctx: Any, formatter: Any) -> None:
    """Write the sections `Arguments`, then one per `rich_help_panel`, `Options` last."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(ctx):
        row = parameter.get_help_record(ctx)
        if row is None:
            continue
        kind = "Arguments" if parameter.param_type_name == "argument" else "Options"
        heading = getattr(parameter, "rich_help_panel", None) or kind
        sections.setdefault(heading, []).append((_names(parameter, row[0]), row[1]))
    last = sections.pop("Options", None)
    if last:
        sections["Options"] = last
    for heading, rows in sections.items():
        with formatter.section(heading):
            formatter.write_dl(rows, col_max=26)


def _names(parameter: Any, shown: str) -> str:
    """Leave out further spellings and the Python type of arguments."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    for spelling in _long_names(parameter.opts)[1:]:
        shown = shown.replace(f", {spelling}", "")
    return shown


def _long_names(names: Sequence[str]) -> list[str]:
    return [name for name in names if name.startswith("--")]


class PlainCommand(TyperCommand):
    """A command whose options are listed under the headings given with `panel`."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write one section per heading."""
        _write_options(self, ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Say once what holds for every option."""
        super().format_epilog(ctx, formatter)
        formatter.write_paragraph()
        formatter.write_text(_EPILOG)


class PlainGroup(TyperGroup):
    """A group that lists its commands first, then its options."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, each with its whole first sentence, then the options."""
        rows = [
            (name, self.commands[name].get_short_help_str(_ONE_SENTENCE))
            for name in self.list_commands(ctx)
            if not self.commands[name].hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
        _write_options(self, ctx, formatter)
