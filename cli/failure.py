"""From an exception to one line on stderr and an exit code."""

import errno
import json
import os
import sys
import traceback
from collections.abc import Sequence

from embedge.cli import EXTRA_OF, FAILURE, USAGE
from embedge.models.errors import EmbedgeError


class ClosedPipe(Exception):
    """The reader of stdout has gone; the command ends quietly with 0."""


def fail(message: str, *, code: str, exit_code: int, as_json: bool) -> int:
    """Print one error on stderr, as a line or as JSON, and return its exit code."""
    if as_json:
        error = {"code": code, "message": message, "exit_code": exit_code}
        print(json.dumps({"error": error}, ensure_ascii=False), file=sys.stderr)
    else:
        print(f"embed: error: {message}", file=sys.stderr)
    return exit_code


def exit_code_of(error: BaseException, arguments: Sequence[str]) -> int:
    """Say what went wrong and return the exit code of `error` (docs/cli.md)."""
    options = _options_before_end(arguments)
    as_json = "--json" in options or os.environ.get("EMBED_JSON", "") in ("1", "true")
    if _wants_traceback(options):
        traceback.print_exception(error)
    quiet = _quiet_exit_code(error)
    if quiet is not None:
        return quiet
    message, code, exit_code = describe(error, arguments)
    return fail(message, code=code, exit_code=exit_code, as_json=as_json)


def _options_before_end(arguments: Sequence[str]) -> list[str]:
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    return list(arguments[:end])


def _wants_traceback(options: Sequence[str]) -> bool:
    level = sum(1 for o in options if o == "--verbose") + sum(
        len(o) - 1 for o in options if o.startswith("-v") and set(o[1:]) == {"v"}
    )
    variable = os.environ.get("EMBED_VERBOSE", "")
    return max(level, int(variable) if variable.isdecimal() else 0) >= 2


def _quiet_exit_code(error: BaseException) -> int | None:
    """Return the exit code of an end that needs no message, else None."""
    if isinstance(error, ClosedPipe | BrokenPipeError):
        return 0
    if isinstance(error, KeyboardInterrupt):
        return 128 + getattr(error, "signum", 2)
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else FAILURE
    if type(error).__name__ == "NoArgsIsHelpError":  # a command group alone: its help
        print(error, file=sys.stderr)
        return USAGE
    return None


def describe(error: BaseException, arguments: Sequence[str]) -> tuple[str, str, int]:
    """Return message, code and exit code of an error."""
    from typer._click.exceptions import UsageError  # no public name; Typer ships its own click

    from embedge.cli.usage import usage_message

    if isinstance(error, UsageError):
        return usage_message(error, arguments), "usage", USAGE
    if isinstance(error, EmbedgeError):
        return str(error), error.code, error.exit_code
    if isinstance(error, ModuleNotFoundError):
        extra = EXTRA_OF.get((error.name or "").partition(".")[0])
        if extra is not None:
            return _missing_extra(error.name, extra), "missing_extra", USAGE
    if isinstance(error, MemoryError):
        way_out = "Lower --batch-tokens, or set --max-memory."
        return f"out of memory. {way_out}", "memory", 7
    if isinstance(error, OSError):
        return _os_error(error), "io", FAILURE
    return f"{type(error).__name__}: {error}. This is a bug; run again with -vv", "bug", FAILURE


def _missing_extra(name: str | None, extra: str) -> str:
    return f"this command needs {name}, which is not installed. Run: pip install 'embedge[{extra}]'"


def _os_error(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    reason = error.strerror or str(error)
    if error.errno == errno.ENOSPC:
        return f"{where}{reason}. Free some space, or choose another place with -o"
    return f"{where}{reason}"
