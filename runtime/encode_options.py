"""Options of `encode` and `stream`: their names in two dialects, their defaults, their checks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict, TypeVar

from embedge.models.errors import InvalidOption
from embedge.models.manifest import Manifest
from embedge.models.space import Space, Variant
from embedge.runtime.long_text import LONG_TEXT, Limits, LongText
from embedge.runtime.precision import Precision, check_precision
from embedge.runtime.tasks import Prompt, Prompts

T = TypeVar("T")

# Tokens that neighbours share: windows of `mean` (as Embed4All), and chunks (docs/files.md).
WINDOW_OVERLAP = 8
CHUNK_OVERLAP = 64


class EncodeOptions(TypedDict, total=False):
    """Keyword arguments that all forms of `encode` share, besides the task; see there."""

    prefix: str | None
    own_prefix: bool
    dim: int | None
    precision: Precision
    normalize: bool | None
    long_text: LongText
    max_tokens: int | None
    overlap: int | None
    batch_size: int | None
    batch_tokens: int | None
    truncate_dim: int | None
    prompt: str | None
    normalize_embeddings: bool | None


@dataclass(frozen=True, kw_only=True)
class EncodeSettings:
    """Checked options of one run.

    Attributes:
        prompt: the prefix for texts that bring none of their own.
        own_prefix: look for prefixes that texts bring.
        ranges: of the features, for precision int8; None where the model has none.
        batch_tokens: padded tokens per batch.
    """

    prompt: Prompt
    own_prefix: bool
    dim: int
    precision: Precision
    normalize: bool
    long_text: LongText
    limits: Limits
    ranges: Sequence[float] | None
    batch_size: int | None
    batch_tokens: int
    space: Space


def first_given(name: str, value: T | None, alias: str, other: T | None) -> T | None:
    """Return whichever of two spellings of one argument was given.

    Raises:
        TypeError: both were.
    """
    if value is not None and other is not None:
        raise TypeError(f"{name} and {alias} are two names of one argument; give one of them")
    return other if value is None else value


@dataclass(frozen=True)
class ModelOptions:
    """What a loaded model allows: the ground on which options are checked."""

    manifest: Manifest
    prompts: Prompts
    variant: Variant
    dim: int
    largest_dim: int
    n_special: int
    batch_tokens: int

    def settings(
        self,
        *,
        task: str | None = None,
        prefix: str | None = None,
        own_prefix: bool = True,
        dim: int | None = None,
        precision: Precision = "float32",
        normalize: bool | None = None,
        long_text: LongText = "mean",
        max_tokens: int | None = None,
        overlap: int | None = None,
        batch_size: int | None = None,
        batch_tokens: int | None = None,
        truncate_dim: int | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        normalize_embeddings: bool | None = None,
    ) -> EncodeSettings:
        """Check options against the model and fill in the defaults.

        Raises:
            InvalidOption: a value that cannot work; the message names a choice that can.
            TypeError: both names of one argument.
        """
        task = first_given("task", task, "prompt_name", prompt_name)
        prefix = first_given("prefix", prefix, "prompt", prompt)
        dim = first_given("dim", dim, "truncate_dim", truncate_dim)
        normalize = first_given(
            "normalize", normalize, "normalize_embeddings", normalize_embeddings
        )
        if long_text not in LONG_TEXT:
            raise InvalidOption(
                f"long_text {long_text!r} is unknown; choose one of {', '.join(LONG_TEXT)}"
            )
        size = self.size(dim)
        unit = normalize is not False
        ranges = self.manifest.output_ranges.get(str(size)) if unit else None
        check_precision(precision, size, ranges)
        return EncodeSettings(
            prompt=self.prompts.choose(task or "document", prefix),
            own_prefix=own_prefix and prefix is None and long_text != "chunk",
            dim=size,
            precision=precision,
            normalize=unit,
            long_text=long_text,
            limits=self.limits(max_tokens, overlap, long_text),
            ranges=ranges,
            batch_size=_positive("batch_size", batch_size),
            batch_tokens=_positive("batch_tokens", batch_tokens) or self.batch_tokens,
            space=self.manifest.space(self.variant, size, normalized=unit),
        )

    def size(self, dim: int | None) -> int:
        """Return the length of the vectors, the loaded one by default.

        Raises:
            InvalidOption: no length that the graph can be cut to.
        """
        if dim is None:
            return self.dim
        if not 1 <= dim <= self.largest_dim:
            raise InvalidOption(
                f"dim {dim} is outside 1 to {self.largest_dim}, the size of {self.manifest.name}; "
                f"its trained sizes are {', '.join(map(str, self.manifest.matryoshka))}"
            )
        return dim

    def limits(self, max_tokens: int | None, overlap: int | None, long_text: LongText) -> Limits:
        """Return the token limits; an unset overlap follows the mode.

        Raises:
            InvalidOption: `max_tokens` above the model's limit.
        """
        most = self.manifest.identity.max_tokens
        wanted = _positive("max_tokens", max_tokens) or most
        if wanted > most:
            raise InvalidOption(f"max_tokens {wanted} is above the model's limit of {most}")
        if overlap is None:
            # The default must not make a small window impossible.
            overlap = min(
                CHUNK_OVERLAP if long_text == "chunk" else WINDOW_OVERLAP, max(0, wanted // 8)
            )
        return Limits(wanted, self.n_special, overlap)


def _positive(name: str, value: int | None) -> int | None:
    if value is not None and value < 1:
        raise InvalidOption(f"{name} {value} is below 1")
    return value
