"""Lines for people on stderr."""

import sys
import warnings
from typing import TextIO


def say(line: str) -> None:
    """Print one line."""
    print(f"embed: {line}", file=sys.stderr)


def show_warnings_as_lines(*, quiet: bool) -> None:
    """Print each warning of the library as one line, or not at all."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not quiet:
            say(f"warning: {message}")

    warnings.showwarning = show
