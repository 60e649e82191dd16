"""What makes a manifest wrong: every rule of the format, and all broken ones in one list."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, cast

from embedge.models.space import PROMPT_TASKS, TASKS, VARIANTS, canonical_json

if TYPE_CHECKING:
    from embedge.models.manifest import Manifest

# Model, revision and file names become parts of paths on every system.
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_DIM = 1 << 20

_STRINGS = ("name", "short_name", "revision", "license")
_OBJECTS = (
    "identity", "recipes", "files", "prompt_aliases", "architecture", "output_ranges", "floors",
    "measured", "calibration", "parent", "tools",
)  # fmt: skip
_ARRAYS = ("graphs", "matryoshka", "sources")
_IDENTITY: Mapping[str, type] = {
    "checkpoint_sha256": str, "tokenizer_sha256": str, "variant": str, "recipe": str,
    "pooling": str, "dim": int, "normalized": bool, "max_tokens": int, "prompts": dict,
    "format": int,
}  # fmt: skip
KEYS = frozenset((*_STRINGS, *_OBJECTS, *_ARRAYS, "format"))
SELF_HASH = "manifest_sha256"
"""The only key that may be absent: bundles of the time before it have none and stay readable."""
IDENTITY_KEYS = frozenset(_IDENTITY)


def shape_problems(raw: Mapping[str, object]) -> list[str]:
    """Name unknown keys, missing keys and values of a wrong type in decoded JSON."""
    problems = _key_problems({key: raw[key] for key in raw if key != SELF_HASH}, KEYS, "")
    if isinstance(raw.get("identity"), dict):
        identity = cast("dict[str, object]", raw["identity"])
        problems += _key_problems(identity, IDENTITY_KEYS, "identity.")
    if not problems:
        problems = list(_wrong_types(raw))
    if not problems:
        problems = [
            f"{key} {flaw}" for key, check in _INNER.items() for flaw in check(raw[key])
        ]  # the inner checks rely on the outer types
    return problems


def content_sha256(content: Mapping[str, object]) -> str:
    """Hash the canonical JSON of everything in a manifest but its own hash; 64 hex digits."""
    others = {key: value for key, value in content.items() if key != SELF_HASH}
    return hashlib.sha256(canonical_json(others).encode("utf-8")).hexdigest()


def self_hash_problems(raw: Mapping[str, object]) -> list[str]:
    """Compare the content of decoded JSON with the hash in it, if it carries one."""
    if SELF_HASH not in raw or raw[SELF_HASH] == (found := content_sha256(raw)):
        return []
    return [
        f"{SELF_HASH} is {_shown(raw[SELF_HASH])}, but the content gives {found[:12]}… "
        f"(damaged, or edited by hand)"
    ]


def consistency_problems(manifest: "Manifest") -> list[str]:
    """Name every contradiction inside a manifest whose types are right."""
    return [
        *_name_problems(manifest),
        *_identity_problems(manifest),
        *_graph_problems(manifest),
        *_file_problems(manifest),
        *_size_problems(manifest),
    ]


def _key_problems(raw: Mapping[str, object], known: frozenset[str], prefix: str) -> list[str]:
    unknown, missing = sorted(raw.keys() - known), sorted(known - raw.keys())
    return [f"unknown key {prefix}{key}" for key in unknown] + [
        f"missing key {prefix}{key}" for key in missing
    ]


def _wrong_types(raw: Mapping[str, object]) -> Iterator[str]:
    expected: dict[str, type] = dict.fromkeys(_STRINGS, str)
    expected |= dict.fromkeys(_OBJECTS, dict) | dict.fromkeys(_ARRAYS, list)
    for key, kind in expected.items():
        if type(raw[key]) is not kind:
            yield f"{key} is {type(raw[key]).__name__}, expected {kind.__name__}"
    identity = raw["identity"]
    if isinstance(identity, dict):
        for key, kind in _IDENTITY.items():
            if type(identity[key]) is not kind:
                yield f"identity.{key} is {type(identity[key]).__name__}, expected {kind.__name__}"


def _has_shape(item: object, shape: Mapping[str, type]) -> bool:
    return (
        isinstance(item, dict)
        and item.keys() == shape.keys()
        and all(type(item[key]) is kind for key, kind in shape.items())
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _each(good: Callable[[object], bool]) -> Callable[[object], Iterator[str]]:
    """Check every item of an object or array with one predicate."""

    def check(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            pairs = [(f"{key}: {_shown(item)}", item) for key, item in value.items()]
        else:
            pairs = [(_shown(item), item) for item in cast("list[object]", value)]
        for shown, item in pairs:
            if not good(item):
                yield f"has the entry {shown}"

    return check


def _is_text(item: object) -> bool:
    return isinstance(item, str)


def _is_number(item: object) -> bool:
    return type(item) in (int, float)


def _is_numbers(item: object) -> bool:
    return isinstance(item, list) and all(_is_number(value) for value in item)


def _is_text_object(item: object) -> bool:
    return isinstance(item, dict) and all(_is_text(value) for value in item.values())


def _is_number_object(item: object) -> bool:
    return isinstance(item, dict) and all(_is_number(value) for value in item.values())


_INNER: Mapping[str, Callable[[object], Iterator[str]]] = {
    "recipes": _each(_is_text),
    "prompt_aliases": _each(_is_text),
    "tools": _each(_is_text),
    "sources": _each(_is_text_object),
    "floors": _each(_is_number_object),
    "output_ranges": _each(_is_numbers),
    "matryoshka": _each(lambda item: type(item) is int),
    "files": _each(lambda item: _has_shape(item, {"size": int, "sha256": str})),
    "graphs": _each(lambda item: _has_shape(item, {"variant": str, "dim": int, "file": str})),
    "identity": lambda value: (
        f"prompts {flaw}" for flaw in _each(_is_text)(cast("dict[str, object]", value)["prompts"])
    ),
}


def _name_problems(manifest: "Manifest") -> Iterator[str]:
    for key in ("name", "short_name"):
        if not PLAIN_NAME.fullmatch(getattr(manifest, key)):
            yield f"{key} {_shown(getattr(manifest, key))} is not a plain name"
    if manifest.revision and not PLAIN_NAME.fullmatch(manifest.revision):
        yield f"revision {_shown(manifest.revision)} is not a plain name"
    for alias, task in manifest.prompt_aliases.items():
        if task not in TASKS:
            yield f"prompt_aliases.{alias} names the unknown task {_shown(task)}"


def _identity_problems(manifest: "Manifest") -> Iterator[str]:
    identity = manifest.identity
    if tuple(sorted(identity.prompts)) != PROMPT_TASKS:
        yield f"identity.prompts has the keys {sorted(identity.prompts)}"
    for key in ("checkpoint_sha256", "tokenizer_sha256"):
        if not _SHA256.fullmatch(getattr(identity, key)):
            yield f"identity.{key} is {_shown(getattr(identity, key))}, expected 64 hex digits"
    if identity.format != 1:
        yield f"identity.format is {_shown(identity.format)}, expected 1"
    if identity.variant not in ("fp32", "int8"):
        yield f"identity.variant is {_shown(identity.variant)}, expected fp32 or int8"
    elif manifest.recipes.get(identity.variant) != identity.recipe:
        yield f"recipes.{identity.variant} differs from identity.recipe {_shown(identity.recipe)}"
    if not 0 < identity.dim <= _MAX_DIM:
        yield f"identity.dim is {_shown(identity.dim)}"
    if not 0 < identity.max_tokens <= _MAX_DIM:
        yield f"identity.max_tokens is {_shown(identity.max_tokens)}"
    if not identity.normalized:
        yield "identity.normalized is false; the stored space is the normalised one"


def _graph_problems(manifest: "Manifest") -> Iterator[str]:
    if not manifest.graphs:
        yield "graphs is empty"
    for name in sorted(manifest.recipes.keys() - set(VARIANTS)):
        yield f"recipes has the unknown variant {_shown(name)}"
    of_precision = ("fp32",) if manifest.identity.variant == "fp32" else ("int8", "int8-avx2")
    seen: set[tuple[str, int]] = set()
    for graph in manifest.graphs:
        if graph.variant not in of_precision:
            yield (
                f"graph {graph.file} has the variant {_shown(graph.variant)}, "
                f"which a bundle of {_shown(manifest.identity.variant)} cannot hold"
            )
        elif graph.variant not in manifest.recipes:
            yield f"recipes lacks {graph.variant}"
        if graph.file not in manifest.files:
            yield f"files lacks the graph {graph.file}"
        if not 0 < graph.dim <= manifest.identity.dim:
            yield f"graph {graph.file} has dim {_shown(graph.dim)}, not in 1..{manifest.full_dim}"
        if (graph.variant, graph.dim) in seen:
            yield f"graphs names {graph.variant} at {graph.dim} twice"
        seen.add((graph.variant, graph.dim))


def _file_problems(manifest: "Manifest") -> Iterator[str]:
    for name, entry in manifest.files.items():
        if not PLAIN_NAME.fullmatch(name) or name == "embedge.json":
            yield f"files names {_shown(name)}, which is not a plain file of the bundle"
        if entry.size < 0 or not _SHA256.fullmatch(entry.sha256):
            yield f"files.{name} has size {_shown(entry.size)} and hash {_shown(entry.sha256)}"
    # Two names that differ by case are one file on Windows and macOS.
    if len({name.casefold() for name in manifest.files}) != len(manifest.files):
        yield "files has names that differ only by case"
    if "tokenizer.json" not in manifest.files:
        yield "files lacks tokenizer.json"


def _size_problems(manifest: "Manifest") -> Iterator[str]:
    sizes = manifest.matryoshka
    if list(sizes) != sorted(set(sizes), reverse=True) or not all(
        0 < size <= manifest.full_dim for size in sizes
    ):
        yield f"matryoshka is {_shown(list(sizes))}, expected falling sizes up to the full one"
    for dim, ranges in manifest.output_ranges.items():
        if dim != str(len(ranges)) or not ranges or min(ranges) <= 0:
            yield f"output_ranges.{_shown(dim)} has {len(ranges)} values, all must be positive"
