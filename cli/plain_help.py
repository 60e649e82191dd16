"""Help in plain text, options grouped under headings; rich would double the start-up time."""

from typing import Any

from typer.core import TyperCommand, TyperGroup


def _write_options(command: TyperCommand | TyperGroup, ctx: Any, formatter: Any) -> None:
    """Write the sections `Arguments`, then one per `rich_help_panel`, `Options` last."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(ctx):
        row = parameter.get_help_record(ctx)
        if row is None:
            continue
        kind = "Arguments" if parameter.param_type_name == "argument" else "Options"
        heading = getattr(parameter, "rich_help_panel", None) or kind
        sections.setdefault(heading, []).append(row)
    last = sections.pop("Options", None)
    if last:
        sections["Options"] = last
    for heading, rows in sections.items():
        with formatter.section(heading):
            formatter.write_dl(rows)


class PlainCommand(TyperCommand):
    """A command whose options are listed under the headings given with `panel`."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write one section per heading."""
        _write_options(self, ctx, formatter)


class PlainGroup(TyperGroup):
    """A group that lists its commands first, then its options."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, then the options."""
        self.format_commands(ctx, formatter)
        _write_options(self, ctx, formatter)
