"""`embedge.json`: what a bundle says about itself. Read strictly, written canonically.

The contract between the exporter and the quantizer, who write it, and the runtime, who reads it.
Unknown keys are errors, and every problem of a manifest is reported in one message.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import cast

from embedge.models.errors import BundleError, InvalidOption
from embedge.models.space import PROMPT_TASKS, VARIANTS, Identity, Space, Variant

MANIFEST_NAME = "embedge.json"
FORMAT = 1

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True)
class GraphEntry:
    """One proto of the bundle: which variant and output size it computes."""

    variant: Variant
    dim: int
    file: str


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and SHA-256 (hex) of one file of the bundle."""

    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A bundle's own description.

    Attributes:
        identity: the space of the stored precision at the largest size, normalised; its `variant`
            is `fp32` or `int8`, never `int8-avx2`, which lives in the same bundle.
        recipes: the recipe string of each variant that the bundle holds.
        matryoshka: trained sizes, largest first.
        prompt_aliases: other spellings of tasks (`passage`, `Classification`, ...) to our tasks.
        architecture: facts for people and servers (hidden, layers, heads, experts, vocabulary, ...).
        output_ranges: per trained size (as a string), the fixed range of every feature for
            `precision="int8"`.
        floors: per variant, the binding quality floors that the source declares; empty if none.
        measured: quality figures as the quantizer and the card give them.
        calibration: statistics, options and text hash that decided the int8 scheme.
        parent: name, fingerprint and hashes of the fp32 bundle an int8 bundle was made from.
        tools: names and versions of the libraries that wrote the bundle, and its CPU.
        sources: where weights, tokenizer and data come from, with their licences.
    """

    name: str
    short_name: str
    revision: str
    license: str
    identity: Identity
    recipes: Mapping[str, str]
    graphs: tuple[GraphEntry, ...]
    matryoshka: tuple[int, ...]
    files: Mapping[str, FileEntry] = field(default_factory=dict)
    prompt_aliases: Mapping[str, str] = field(default_factory=dict)
    architecture: Mapping[str, Json] = field(default_factory=dict)
    output_ranges: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    floors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    measured: Mapping[str, Json] = field(default_factory=dict)
    calibration: Mapping[str, Json] = field(default_factory=dict)
    parent: Mapping[str, Json] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    sources: tuple[Mapping[str, str], ...] = ()
    format: int = FORMAT

    @property
    def full_dim(self) -> int:
        """Length of the uncut vector."""
        return self.identity.dim

    def space(self, variant: Variant, dim: int, *, normalized: bool = True) -> Space:
        """Return the space of vectors made by `variant`, cut to `dim`."""
        identity = self.identity.running(
            variant=variant, recipe=self.recipes[variant], dim=dim, normalized=normalized
        )
        return Space(identity, self.short_name)

    def variants(self) -> tuple[Variant, ...]:
        """Return the variants that the bundle holds a graph for, in the order of `VARIANTS`."""
        held = {graph.variant for graph in self.graphs}
        return tuple(variant for variant in VARIANTS if variant in held)

    def graph(self, variant: Variant, dim: int) -> GraphEntry:
        """Return the graph for `variant` at `dim`, or the smallest larger one to cut from.

        Raises:
            InvalidOption: the bundle lacks the variant, or holds no size of at least `dim`.
        """
        sizes = [g for g in self.graphs if g.variant == variant]
        if not sizes:
            raise InvalidOption(
                f"{self.name} holds no {variant} graph, only {', '.join(self.variants())}. "
                f"Choose one of these with --variant."
            )
        fitting = [graph for graph in sizes if graph.dim >= dim]
        if not fitting:
            largest = max(graph.dim for graph in sizes)
            raise InvalidOption(
                f"dim {dim} is larger than {self.name} gives; choose at most {largest}"
            )
        return min(fitting, key=lambda graph: graph.dim)

    def dump(self) -> str:
        """Serialise as indented JSON with sorted keys and a final newline."""
        return json.dumps(asdict(self), sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """Read and check `folder/embedge.json`.

    Raises:
        BundleError: the file is missing, not JSON, of a newer format, or has wrong fields.
    """
    path = folder / MANIFEST_NAME
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(
            f"{folder} is not a bundle: it has no {MANIFEST_NAME}. "
            f"Make one with `embed export CHECKPOINT {folder}`."
        ) from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {error}. Export the bundle again.") from error
    return parse_manifest(raw, str(path))


def parse_manifest(raw: object, where: str) -> Manifest:
    """Turn decoded JSON into a manifest; `where` names it in messages.

    Raises:
        BundleError: names every problem found.
    """
    if not isinstance(raw, dict):
        raise BundleError(f"{where} holds {type(raw).__name__}, expected a JSON object")
    if raw.get("format") != FORMAT:
        raise BundleError(
            f"{where} has format {raw.get('format')!r}, this version reads {FORMAT}. "
            f"Update embedge, or export the bundle again."
        )
    problems = _key_problems(raw, Manifest, "")
    identity = raw.get("identity")
    if isinstance(identity, dict):
        problems += _key_problems(identity, Identity, "identity.")
    if not problems:
        problems = _type_problems(raw)
    if problems:
        raise BundleError(f"{where}: {'; '.join(problems)}. Export the bundle again.")
    manifest = _build(raw)
    problems = _consistency_problems(manifest)
    if problems:
        raise BundleError(f"{where}: {'; '.join(problems)}. Export the bundle again.")
    return manifest


def _key_problems(raw: Mapping[str, object], kind: type, prefix: str) -> list[str]:
    known = {f.name for f in fields(kind)}
    unknown, missing = sorted(raw.keys() - known), sorted(known - raw.keys())
    return [f"unknown key {prefix}{key}" for key in unknown] + [
        f"missing key {prefix}{key}" for key in missing
    ]


_STRINGS = ("name", "short_name", "revision", "license")
_OBJECTS = (
    "identity", "recipes", "files", "prompt_aliases", "architecture", "output_ranges", "floors",
    "measured", "calibration", "parent", "tools",
)  # fmt: skip
_ARRAYS = ("graphs", "matryoshka", "sources")
_IDENTITY_TYPES: Mapping[str, type] = {
    "checkpoint_sha256": str, "tokenizer_sha256": str, "variant": str, "recipe": str,
    "pooling": str, "dim": int, "normalized": bool, "max_tokens": int, "prompts": dict,
    "format": int,
}  # fmt: skip


def _type_problems(raw: Mapping[str, object]) -> list[str]:
    expected: dict[str, type] = dict.fromkeys(_STRINGS, str)
    expected |= dict.fromkeys(_OBJECTS, dict) | dict.fromkeys(_ARRAYS, list)
    problems = [
        f"{key} is {type(raw[key]).__name__}, expected {kind.__name__}"
        for key, kind in expected.items()
        if not isinstance(raw[key], kind)
    ]
    identity = raw["identity"]
    if isinstance(identity, dict):
        problems += [
            f"identity.{key} is {type(identity[key]).__name__}, expected {kind.__name__}"
            for key, kind in _IDENTITY_TYPES.items()
            if type(identity[key]) is not kind
        ]
    if problems:
        return problems
    for key, shape in (("graphs", {"variant": str, "dim": int, "file": str}),):
        for item in cast("list[object]", raw[key]):
            if not _has_shape(item, shape):
                problems.append(f"{key} has the entry {item!r}")
    for name, item in cast("dict[str, object]", raw["files"]).items():
        if not _has_shape(item, {"size": int, "sha256": str}):
            problems.append(f"files.{name} is {item!r}")
    for dim, item in cast("dict[str, object]", raw["output_ranges"]).items():
        if not isinstance(item, list) or not all(isinstance(v, int | float) for v in item):
            problems.append(f"output_ranges.{dim} is not a list of numbers")
    if not all(type(size) is int for size in cast("list[object]", raw["matryoshka"])):
        problems.append(f"matryoshka is {raw['matryoshka']!r}")
    return problems


def _has_shape(item: object, shape: Mapping[str, type]) -> bool:
    return (
        isinstance(item, dict)
        and item.keys() == shape.keys()
        and all(type(item[key]) is kind for key, kind in shape.items())
    )


def _build(raw: dict[str, object]) -> Manifest:
    values = dict(raw)
    values["identity"] = Identity(**cast("dict[str, object]", raw["identity"]))  # type: ignore[arg-type]  # types checked above
    values["graphs"] = tuple(
        GraphEntry(**g) for g in cast("list[dict[str, object]]", raw["graphs"])
    )  # type: ignore[arg-type]  # types checked above
    values["files"] = {
        name: FileEntry(**entry)  # type: ignore[arg-type]  # types checked above
        for name, entry in cast("dict[str, dict[str, object]]", raw["files"]).items()
    }
    values["matryoshka"] = tuple(cast("list[int]", raw["matryoshka"]))
    values["sources"] = tuple(cast("list[Mapping[str, str]]", raw["sources"]))
    values["output_ranges"] = {
        dim: tuple(ranges)
        for dim, ranges in cast("dict[str, list[float]]", raw["output_ranges"]).items()
    }
    return Manifest(**values)  # type: ignore[arg-type]  # types checked above


def _consistency_problems(manifest: Manifest) -> list[str]:
    problems = []
    identity = manifest.identity
    if tuple(sorted(identity.prompts)) != PROMPT_TASKS:
        problems.append(f"identity.prompts has the keys {sorted(identity.prompts)}")
    for name in manifest.files:
        if Path(name).name != name or name == MANIFEST_NAME:
            problems.append(f"files names {name!r}, which is not a plain file of the bundle")
    for graph in manifest.graphs:
        if graph.variant not in VARIANTS:
            problems.append(f"graph {graph.file} has the unknown variant {graph.variant!r}")
        elif graph.variant not in manifest.recipes:
            problems.append(f"recipes lacks {graph.variant}")
        if graph.file not in manifest.files:
            problems.append(f"files lacks the graph {graph.file}")
        if not 0 < graph.dim <= identity.dim:
            problems.append(f"graph {graph.file} has dim {graph.dim}, above {identity.dim}")
    if not manifest.graphs:
        problems.append("graphs is empty")
    for dim, ranges in manifest.output_ranges.items():
        if not dim.isdecimal() or len(ranges) != int(dim) or min(ranges) <= 0:
            problems.append(f"output_ranges.{dim} has {len(ranges)} values")
    if "tokenizer.json" not in manifest.files:
        problems.append("files lacks tokenizer.json")
    return problems
