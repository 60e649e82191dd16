"""The embedding space: what two vectors must share to be comparable, and its fingerprint."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal

from embedge.models.errors import SpaceMismatch

Task = Literal["document", "query", "classification", "clustering", "none"]
Variant = Literal["fp32", "int8", "int8-avx2"]

TASKS: tuple[Task, ...] = ("document", "query", "classification", "clustering", "none")
PROMPT_TASKS: tuple[Task, ...] = ("classification", "clustering", "document", "query")
VARIANTS: tuple[Variant, ...] = ("fp32", "int8", "int8-avx2")

# Spellings of presets in other tools; one graph serves both instruction sets.
VARIANT_ALIASES: Mapping[str, Variant] = {"int8-vnni": "int8", "int8-arm64": "int8"}


def canonical_json(value: object) -> str:
    """Serialise with sorted keys, no white space and unescaped non-ASCII text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def short_hash(text: str) -> str:
    """Return the first eight hex digits of the SHA-256 of `text` in UTF-8."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:8]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Everything that decides the numbers of a vector, and nothing else.

    `checkpoint_sha256` is the hash of the source weights (several files: SHA-256 of their sorted
    hex hashes joined by newlines); `tokenizer_sha256` that of the source `tokenizer.json`.
    """

    checkpoint_sha256: str
    tokenizer_sha256: str
    variant: Variant
    recipe: str
    pooling: str
    dim: int
    normalized: bool
    max_tokens: int
    prompts: Mapping[str, str]
    format: int = 1

    def running(self, *, variant: Variant, recipe: str, dim: int, normalized: bool) -> "Identity":
        """Return the identity of vectors made with these run-time choices."""
        return replace(self, variant=variant, recipe=recipe, dim=dim, normalized=normalized)


@dataclass(frozen=True)
class Space:
    """An identity with a name for people; only the hash part is compared."""

    identity: Identity
    short_name: str

    @property
    def digest(self) -> str:
        """First eight hex digits of SHA-256 over the canonical JSON of the identity."""
        return short_hash(canonical_json(asdict(self.identity)))

    @property
    def fingerprint(self) -> str:
        """`short_name-digest`, as records, manifests and answers carry it."""
        return f"{self.short_name}-{self.digest}"

    def __str__(self) -> str:
        return self.fingerprint

    def require_equal(self, other: "Space", repair: str) -> None:
        """Refuse to mix with another space.

        Args:
            other: the space found where this one was expected.
            repair: the command that mends it, part of the message.

        Raises:
            SpaceMismatch: the digests differ; the message names the first differing field.
        """
        if self.digest == other.digest:
            return
        mine, theirs = asdict(self.identity), asdict(other.identity)
        field = next(name for name in sorted(mine) if mine[name] != theirs[name])
        raise SpaceMismatch(
            f"vectors of {other.fingerprint} do not compare with {self.fingerprint}: "
            f"{field} is {theirs[field]!r}, here {mine[field]!r}. {repair}"
        )


def tasks_compare(first: str, second: str) -> bool:
    """Say whether vectors of two tasks may be compared: query with document, else only equals."""
    return first == second or {first, second} == {"document", "query"}


def custom_task(prefix: str, prompts: Mapping[str, str]) -> str:
    """Name the task of a verbatim prefix: one of the table, `none`, or `custom:` and a hash."""
    if prefix == "":
        return "none"
    # Where tasks share a prefix it means retrieval first, whose two sides compare.
    for task in ("document", "query", *prompts):
        if prompts.get(task) == prefix:
            return task
    return f"custom:{short_hash(prefix)}"
