"""Where the tokens of a text are, from one pass of the tokenizer over blocks of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embedge.runtime.chunking.characters import PLAIN_ENDS, is_grapheme_edge, is_white
from embedge.runtime.chunking.chunk import TokenCounter

BLOCK_CHARS = 1 << 15
"""Largest piece given to the tokenizer. Its working memory is about 100 times its input, and
piece by piece a text of any size, even one line without a space, takes linear time."""


@dataclass(frozen=True)
class TokenMap:
    """Start of each token in code points, and the seams at which tokens are not certain.

    A seam is a block edge inside a run without white space: there the tokenizer was made to
    stop, so a few tokens around it may differ from those of the whole text.
    """

    text: str = field(repr=False)
    tokens: TokenCounter = field(repr=False)
    starts: NDArray[np.int64]  # (tokens,), never falling
    seams: NDArray[np.int64]  # (seams,)
    _counted: dict[tuple[int, int], int] = field(default_factory=dict, repr=False)

    def index(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many tokens start before each position, same shape."""
        return np.searchsorted(self.starts, positions, side="left")

    def index_of(self, position: int) -> int:
        """Return how many tokens start before one position."""
        return int(np.searchsorted(self.starts, position, side="left"))

    def between(self, start: int, end: int) -> int:
        """Return the number of tokens in text[start:end], as seen in the whole text."""
        return self.index_of(end) - self.index_of(start)

    def is_exact(self, start: int, end: int) -> bool:
        """Tell whether `between` equals the count of that piece alone."""
        first, last = np.searchsorted(self.seams, (start, end), side="left")
        return bool(first == last) and self._is_clean(start) and self._is_clean(end)

    def count(self, start: int, end: int) -> int:
        """Return the number of tokens of text[start:end] alone."""
        if self.is_exact(start, end):
            return self.between(start, end)
        if (start, end) not in self._counted:
            self._counted[start, end] = self.tokens.count(self.text[start:end])
        return self._counted[start, end]

    def _is_clean(self, position: int) -> bool:
        text = self.text
        if position in (0, len(text)):
            return True
        return is_white(text[position - 1]) or is_white(text[position])


def map_tokens(text: str, tokens: TokenCounter) -> TokenMap:
    """Tokenize the whole text once."""
    parts, seams = [], []
    for start, end in _blocks(text):
        offsets = tokens.offsets(text[start:end])
        starts = np.fromiter((first for first, _ in offsets), np.int64, len(offsets))
        parts.append(starts + start)
        if end < len(text) and not is_white(text[end - 1]):
            seams.append(end)
    starts = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
    np.maximum.accumulate(starts, out=starts)
    return TokenMap(text, tokens, starts, np.array(seams, dtype=np.int64))


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(text):
        end = _block_end(text, start)
        yield start, end
        start = end


def _block_end(text: str, start: int) -> int:
    """Prefer white space, then the end of a sentence, then the edge of a grapheme."""
    stop = start + BLOCK_CHARS
    if stop >= len(text):
        return len(text)
    sentence = edge = 0
    for position in range(stop, stop - BLOCK_CHARS // 2, -1):
        last = text[position - 1]
        if is_white(last) and is_grapheme_edge(text, position):
            return position
        if not sentence and last in PLAIN_ENDS and is_grapheme_edge(text, position):
            sentence = position
        if not edge and stop - position < 64 and is_grapheme_edge(text, position):
            edge = position
    return sentence or edge or stop
