"""Usage errors in one sentence, with the nearest right spelling."""

import difflib
import os
from collections.abc import Sequence
from typing import Any


def usage_message(error: Any, arguments: Sequence[str]) -> str:
    """Turn a click usage error into thing, value and way out."""
    ctx = error.ctx
    path = ctx.command_path if ctx is not None else "embed"
    help_hint = f"See `{path} --help`"
    message = str(error.format_message()).strip().rstrip(".")
    message = message[:1].lower() + message[1:]
    if message.startswith("no such command"):
        return _unknown_command(ctx, arguments)
    if type(error).__name__ == "NoSuchOption":
        return _unknown_option(error, path, help_hint)
    if getattr(error, "param", None) is not None and message.startswith("invalid value"):
        return f"{_bad_value(error, arguments)}. {help_hint}"
    return f"{message}. {help_hint}"


def _bad_value(error: Any, arguments: Sequence[str]) -> str:
    """Name the option or the variable, the value, and what was expected."""
    names = error.param.opts
    name = next((opt for opt in names if opt.startswith("--")), names[0])
    value = _typed_value(names, arguments)
    variable = error.param.envvar if isinstance(error.param.envvar, str) else ""
    if value is None and variable in os.environ:
        name, value = variable, os.environ[variable]
    shown = name if value is None else f"{name} {value!r}"
    reason = error.message.strip().rstrip(".")
    for start, words in _REASONS.items():
        if reason.startswith(start):
            reason = words + reason.removeprefix(start).partition(",")[0]
    return f"{shown}: {reason[:1].lower()}{reason[1:]}"


# The library's words and ours.
_REASONS = {
    "Input should be a valid integer": "expected a whole number",
    "Input should be a valid boolean": "expected 1 or 0",
    "Input should be a valid number": "expected a number",
    "Input should be greater than or equal to": "expected at least",
}


def _typed_value(names: Sequence[str], arguments: Sequence[str]) -> str | None:
    for argument, following in zip(arguments, [*arguments[1:], None], strict=True):
        if argument in names:
            return following
        name, sign, value = argument.partition("=")
        if sign and name in names:
            return value
    return None


def _unknown_command(ctx: Any, arguments: Sequence[str]) -> str:
    words = [word for word in arguments if not word.startswith("-")]
    group = ctx.command
    passed = {*group.commands, *ctx.command_path.split()}  # `embed models` before its own words
    typed = next((word for word in words if word not in passed), "")
    near = difflib.get_close_matches(typed, group.commands, n=1)
    if near:
        return f"no command {typed!r}. Did you mean `{ctx.command_path} {near[0]}`?"
    if ctx.parent is not None:
        names = ", ".join(group.commands)
        return f"no command {typed!r} in `{ctx.command_path}`; there is {names}"
    if os.sep in typed or "." in typed:
        return f"{typed}: no such file or command. To embed it as text: embed text {typed!r}"
    return f'no command or file {typed!r}. To embed it as text: embed text "{typed}"'


def _unknown_option(error: Any, path: str, help_hint: str) -> str:
    typed = error.option_name
    ctx = error.ctx
    if ctx is not None and ctx.parent is None:
        return f"{typed} must come after a command: embed files {typed} ... . {help_hint}"
    known = [opt for p in ctx.command.get_params(ctx) for opt in (*p.opts, *p.secondary_opts)]
    near = difflib.get_close_matches(typed, known, n=1)
    if near:
        return f"{path} has no option {typed}. Did you mean {near[0]}?"
    if any(p.param_type_name == "argument" for p in ctx.command.get_params(ctx)):
        help_hint = f"If it is no option, put -- before it: {path} -- {typed}"
    return f"{path} has no option {typed}. {help_hint}"
