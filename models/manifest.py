"""`embedge.json`: what a bundle says about itself. Read strictly, written canonically.

The contract between the exporter and the quantizer, who write it, and the runtime, who reads it.
Unknown keys are errors, and every problem of a manifest is reported in one message.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from embedge.models import strict_json
from embedge.models.errors import BundleError, InvalidOption
from embedge.models.manifest_check import (
    SELF_HASH,
    consistency_problems,
    content_sha256,
    self_hash_problems,
    shape_problems,
)
from embedge.models.space import VARIANTS, Identity, Space, Variant
from embedge.models.strict_json import Json as Json

MANIFEST_NAME = "embedge.json"
FORMAT = 1


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
        architecture: facts for people and servers (hidden, layers, heads, experts, ...).
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
        """Serialise as indented JSON with sorted keys, its own hash and a final newline.

        Raises:
            ValueError: a figure is NaN or infinite.
            TypeError: a value is no JSON value (a numpy number, a set, ...).
        """
        content = asdict(self)
        content[SELF_HASH] = content_sha256(content)
        return (
            json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
            + "\n"
        )


def read_manifest(folder: Path) -> Manifest:
    """Read and check `folder/embedge.json`.

    Raises:
        BundleError: the file is missing, not JSON, of a newer format, has wrong fields, or holds
            something else than its own hash says.
    """
    path = folder / MANIFEST_NAME
    try:
        raw = strict_json.load(path)
    except (FileNotFoundError, NotADirectoryError):
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
    # `True == 1`, so the type counts too.
    if type(raw.get("format")) is not int or raw["format"] != FORMAT:
        raise BundleError(
            f"{where} has format {raw.get('format')!r}, this version reads {FORMAT}. "
            f"Update embedge, or export the bundle again."
        )
    problems = shape_problems(raw)
    if not problems:
        manifest = _build(cast("_Raw", raw))
        problems = [*self_hash_problems(raw), *consistency_problems(manifest)]
        if not problems:
            return manifest
    raise BundleError(f"{where}: {'; '.join(problems)}. Export the bundle again.")


class _RawIdentity(TypedDict):
    checkpoint_sha256: str
    tokenizer_sha256: str
    variant: Variant
    recipe: str
    pooling: str
    dim: int
    normalized: bool
    max_tokens: int
    prompts: dict[str, str]
    format: int


class _RawGraph(TypedDict):
    variant: Variant
    dim: int
    file: str


class _RawFile(TypedDict):
    size: int
    sha256: str


class _Raw(TypedDict):
    name: str
    short_name: str
    revision: str
    license: str
    identity: _RawIdentity
    recipes: dict[str, str]
    graphs: list[_RawGraph]
    matryoshka: list[int]
    files: dict[str, _RawFile]
    prompt_aliases: dict[str, str]
    architecture: dict[str, Json]
    output_ranges: dict[str, list[float]]
    floors: dict[str, dict[str, float]]
    measured: dict[str, Json]
    calibration: dict[str, Json]
    parent: dict[str, Json]
    tools: dict[str, str]
    sources: list[dict[str, str]]
    format: int
    manifest_sha256: NotRequired[str]


def _build(raw: _Raw) -> Manifest:
    return Manifest(
        name=raw["name"],
        short_name=raw["short_name"],
        revision=raw["revision"],
        license=raw["license"],
        identity=Identity(**raw["identity"]),
        recipes=raw["recipes"],
        graphs=tuple(GraphEntry(**graph) for graph in raw["graphs"]),
        matryoshka=tuple(raw["matryoshka"]),
        files={name: FileEntry(**entry) for name, entry in raw["files"].items()},
        prompt_aliases=raw["prompt_aliases"],
        architecture=raw["architecture"],
        output_ranges={dim: tuple(ranges) for dim, ranges in raw["output_ranges"].items()},
        floors=raw["floors"],
        measured=raw["measured"],
        calibration=raw["calibration"],
        parent=raw["parent"],
        tools=raw["tools"],
        sources=tuple(raw["sources"]),
    )
