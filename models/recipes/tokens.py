"""Texts to token ids for the few that are no part of the corpus, and batches of like length."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from embedge.models.recipes.packing import open_tokenizer


class TextEncoder:
    """Prefix, special tokens, cut at `limit` tokens; the end token survives the cut."""

    def __init__(self, tokenizer: Path) -> None:
        self._tokenizer = open_tokenizer(tokenizer)
        self._end = self._tokenizer.encode("").ids[-1]

    def ids(self, texts: Sequence[str], prefix: str, limit: int) -> list[list[int]]:
        """Token ids of each text behind `prefix`."""
        found = self._tokenizer.encode_batch_fast([prefix + text for text in texts])
        return [e.ids if len(e.ids) <= limit else [*e.ids[: limit - 1], self._end] for e in found]


def like_length(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Indices in batches of at most `tokens` padded tokens, longest first."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    start = 0
    while start < len(order):
        count = max(1, tokens // max(1, lengths[order[start]]))
        yield order[start : start + count]
        start += count
