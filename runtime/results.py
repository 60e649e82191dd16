"""What `Embedder` returns beside plain arrays."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from embedge.models.space import Space

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedge.runtime.chunking import Chunk

    # float32, float16, int8 or uint8, by `precision`.
    Vectors = NDArray[np.number]

PrefixSource = Literal["task", "custom", "own", "none"]


@dataclass(frozen=True)
class TextInfo:
    """What became of one text.

    Attributes:
        n_tokens: tokens that the model saw, prefix and special tokens of every window included.
        truncated: True only if part of the text was dropped.
        n_windows: sequences that the text was split into; more than 1 only for long texts.
        empty: the text has no token of its own.
        prefix: where the prefix came from: the task's, a custom one, the text's own, or none.
        task: the task of the vector; a text with its own prefix carries the task of that prefix.
    """

    n_tokens: int
    truncated: bool
    n_windows: int
    empty: bool
    prefix: PrefixSource
    task: str


@dataclass(frozen=True)
class Embedded:
    """One result of `Embedder.stream`.

    Attributes:
        index: position of the text in the input, from 0.
        vector: (dim,) in the chosen precision.
        info: what became of the text, or of the chunk.
        chunk: the passage with its offsets if `long_text="chunk"`, else None.
    """

    index: int
    vector: "Vectors"
    info: TextInfo
    chunk: "Chunk | None" = None


@dataclass(frozen=True)
class EncodeResult:
    """Vectors with their provenance: `vectors` (n, dim) or (dim,), one `info` per text, `space`."""

    vectors: "Vectors"
    info: list[TextInfo]
    space: Space
