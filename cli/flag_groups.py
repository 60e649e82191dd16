"""Groups of flags as dataclasses: a command names a group, Typer sees its flags."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints

import typer

GIVEN = "given"  # field of a group that receives the names typed on the command line


def with_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Expand every parameter whose annotation is a dataclass into the flags of that dataclass.

    The command is called with the dataclasses filled in. A field named `given` is no flag: it
    receives the names of the flags that were typed, so that a flag can win over a variable.
    """
    groups: dict[str, type[Any]] = {}
    own: list[str] = []
    expanded: dict[str, inspect.Parameter] = {}
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        if not _is_group(parameter.annotation):
            own.append(name)
            expanded[name] = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            continue
        groups[name] = parameter.annotation
        expanded.update(_flags_of(parameter.annotation))
    ctx = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)

    def call(ctx: typer.Context, **values: Any) -> None:
        typed = frozenset(n for n in values if _was_typed(ctx, n))
        arguments = {name: values[name] for name in own}
        for name, group in groups.items():
            chosen = {f.name: values[f.name] for f in fields(group) if f.name != GIVEN}
            if any(f.name == GIVEN for f in fields(group)):
                chosen[GIVEN] = typed
            arguments[name] = group(**chosen)
        command(**arguments)

    call.__name__ = command.__name__
    call.__doc__ = command.__doc__
    call.__annotations__ = {}
    call.__signature__ = inspect.Signature([ctx, *expanded.values()])  # type: ignore[attr-defined]
    return call


def _is_group(annotation: Any) -> bool:
    return isinstance(annotation, type) and is_dataclass(annotation)


def _flags_of(group: type[Any]) -> dict[str, inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    found = {}
    for field in fields(group):
        if field.name == GIVEN:
            continue
        default = field.default
        if default is MISSING:
            default = field.default_factory() if field.default_factory is not MISSING else MISSING
        found[field.name] = inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if default is MISSING else default,
            annotation=hints[field.name],
        )
    return found


def _was_typed(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
