"""`--files DIR GLOB`, as often as one likes.

Typer gives an option either two values or several occurrences, not both. The command therefore
takes single values and pairs them up, and its parser is handed `--files=DIR --files=GLOB`.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated, Any

from embedge.cli.options import INPUT, option
from embedge.cli.plain_help import PlainCommand
from embedge.models.errors import InvalidOption

_FLAG = "--files"

FolderGlobs = Annotated[
    list[str] | None,
    option(
        _FLAG,
        help="The files of folder DIR that match GLOB (repeatable).",
        panel=INPUT,
        metavar="DIR GLOB",
    ),
]


class FolderGlobCommand(PlainCommand):
    """A command with `--files DIR GLOB`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Hand every DIR and GLOB on as a value of its own, then parse as usual."""
        rest: list[str] = super().parse_args(ctx, list(_single_values(args, self._takes_value())))
        return rest

    def _takes_value(self) -> frozenset[str]:
        with_value = [each for each in self.params if each.param_type_name == "option"]
        return frozenset(
            name
            for each in with_value
            if not getattr(each, "is_flag", False) and not getattr(each, "count", False)
            for name in each.opts
        )


def _single_values(args: Sequence[str], takes_value: frozenset[str]) -> Iterator[str]:
    words = iter(args)
    for word in words:
        if word == "--":
            yield word
            yield from words
        elif word == _FLAG:
            yield from (f"{_FLAG}={value}" for value in islice(words, 2))
        elif word.startswith(f"{_FLAG}="):
            yield word
            yield from (f"{_FLAG}={value}" for value in islice(words, 1))
        else:
            yield word
            if word in takes_value:  # whatever comes next is its value, also `--files`
                yield from islice(words, 1)


def folder_globs(values: Sequence[str] | None) -> list[tuple[str, str]]:
    """Return the pairs of a folder and a pattern that were given.

    Raises:
        InvalidOption: the last one has no pattern.
    """
    given = list(values or ())
    if len(given) % 2:
        raise InvalidOption(f"--files {given[-1]} needs a pattern, as in --files docs '*.md'")
    return list(zip(given[::2], given[1::2], strict=True))
