"""What goes into the chunker and what comes out."""

from dataclasses import dataclass
from typing import Literal, Protocol

ChunkKind = Literal["text", "markdown", "rst", "code"]


class TokenCounter(Protocol):
    """The model's tokenizer, without special tokens.

    The chunker relies on one property: counts add up at white space, so
    `count(a + " " + b) == count(a) + count(b)`. It counts a chunk again only where it had to
    cut inside a run without white space.
    """

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Return (start, end) in code points of each token, in order."""
        ...

    def count(self, text: str) -> int:
        """Return the number of tokens."""
        ...


@dataclass(frozen=True)
class Chunk:
    """One passage: `text == whole[char_start:char_end]`, overlap included.

    Offsets count code points, `char_end` is exclusive. Lines start at 1, `line_end` is
    inclusive. The first `overlap_chars` characters repeat the end of the chunk before;
    `page` and `heading` belong to the first word after them. `n_tokens` counts text tokens
    only, without prefix and special tokens.
    """

    text: str
    char_start: int
    char_end: int
    line_start: int
    line_end: int
    page: int | None
    heading: str | None
    n_tokens: int
    overlap_chars: int
