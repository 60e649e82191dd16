"""Whether what was said about a checkpoint can be true; found before the long work begins."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from embedge.models.manifest_check import PLAIN_NAME
from embedge.models.space import PROMPT_TASKS

if TYPE_CHECKING:
    from embedge.models.pooling import Pooling
    from embedge.models.source import Source


class ModelSizes(Protocol):
    """What a checkpoint's config says that the rest must agree with."""

    @property
    def hidden(self) -> int:
        """Features of a hidden state."""

    @property
    def positions(self) -> int:
        """Longest sequence that the model has positions for, in tokens."""


# The variants that quantizing makes; fp32 is the form that they are measured against.
_MEASURED = ("int8", "int8-avx2")


def source_problems(
    source: "Source", config: ModelSizes, poolings: "Sequence[Pooling]"
) -> list[str]:
    """Name every value that is impossible or contradicts the model."""
    return [
        *_name_problems(source),
        *_size_problems(source, config),
        *_pooling_problems(source, poolings),
        *_prompt_problems(source),
        *_floor_problems(source),
        *_origin_problems(source),
    ]


def _name_problems(source: "Source") -> list[str]:
    problems = []
    for key in ("name", "short_name", "revision"):
        value = getattr(source, key)
        if key == "revision" and value is None:
            continue
        if not isinstance(value, str) or not PLAIN_NAME.fullmatch(value):
            problems.append(
                f"{key} is {value!r}, expected letters, digits, dots, hyphens and underscores"
            )
    if not isinstance(source.license, str) or not source.license.strip():
        problems.append(f"license is {source.license!r}, expected a text")
    return problems


def _size_problems(source: "Source", config: ModelSizes) -> list[str]:
    problems = []
    sizes = source.matryoshka
    if not isinstance(sizes, tuple) or not all(type(size) is int for size in sizes):
        problems.append(f"matryoshka is {sizes!r}, expected whole numbers")
    elif sorted(set(sizes), reverse=True) != list(sizes) or not sizes or sizes[-1] < 1:
        problems.append(f"matryoshka is {list(sizes)}, expected sizes from large to small")
    elif sizes[0] != config.hidden:
        problems.append(f"matryoshka begins with {sizes[0]}, the model gives {config.hidden}")
    if type(source.max_tokens) is not int or not 16 <= source.max_tokens <= config.positions:
        problems.append(
            f"max_tokens is {source.max_tokens!r}, expected 16 to {config.positions} (n_positions)"
        )
    return problems


def _pooling_problems(source: "Source", poolings: "Sequence[Pooling]") -> list[str]:
    if source.pooling in poolings:
        return []
    return [f"pooling is {source.pooling!r}, expected {' or '.join(poolings)}"]


def _prompt_problems(source: "Source") -> list[str]:
    problems = []
    prompts = source.prompts
    if not isinstance(prompts, Mapping) or sorted(prompts) != list(PROMPT_TASKS):
        problems.append(f"prompts has {prompts!r}, expected the keys {', '.join(PROMPT_TASKS)}")
    elif not all(isinstance(prefix, str) for prefix in prompts.values()):
        problems.append(f"prompts has {prompts!r}, expected texts")
    aliases = source.prompt_aliases
    if not isinstance(aliases, Mapping) or not all(
        task in PROMPT_TASKS for task in aliases.values()
    ):
        problems.append(f"prompt_aliases has {aliases!r}, expected names of tasks")
    return problems


def _floor_problems(source: "Source") -> list[str]:
    floors = source.floors
    if not isinstance(floors, Mapping):
        return [f"floors is {floors!r}, expected an object"]
    problems = [
        f"floors has {variant!r}, expected {' or '.join(_MEASURED)}"
        for variant in floors
        if variant not in _MEASURED
    ]
    return problems + [
        f"floors of {variant} are {values!r}, expected names and numbers"
        for variant, values in floors.items()
        if not isinstance(values, Mapping) or not all(_is_number(v) for v in values.values())
    ]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _origin_problems(source: "Source") -> list[str]:
    if not isinstance(source.sources, tuple):
        return [f"sources is {source.sources!r}, expected a list"]
    return [
        f"sources has {origin!r}, expected an object of texts"
        for origin in source.sources
        if not isinstance(origin, Mapping) or not all(isinstance(v, str) for v in origin.values())
    ]
