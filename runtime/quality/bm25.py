"""BM25: the baseline that needs no model.

Through bm25s, which computes Lucene's variant, as published baselines do. SQLite's bm25() would
need no package, but its inverse document frequency differs, it exists only where FTS5 is compiled
in, and its tokenizer takes a Chinese or Thai sentence for one word.
"""

import itertools
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    pass

# The defaults of Anserini, which the published BEIR baselines were made with.
K1, B = 0.9, 0.4

# Thai, Lao, Burmese, Khmer, Japanese kana and Chinese characters: written without spaces.
_UNSPACED = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF),
)  # fmt: skip


@cache
def _class_of(character: str) -> Literal["word", "unspaced", "other"]:
    # Combining marks belong to their word: without them Hindi words fall into pieces.
    if unicodedata.category(character)[0] not in "LMN":
        return "other"
    code = ord(character)
    return "unspaced" if any(low <= code <= high for low, high in _UNSPACED) else "word"


def words(text: str) -> list[str]:
    """Split into case-folded words, without stemming or stop words, alike for every language.

    Scripts written without spaces give overlapping pairs of characters, as in Lucene's CJKAnalyzer.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    found: list[str] = []
    for kind, characters in itertools.groupby(folded, key=_class_of):
        run = "".join(characters)
        if kind == "word":
            found.append(run)
        elif kind == "unspaced":
            found += [run[i : i + 2] for i in range(max(1, len(run) - 1))]
    return found


class Bm25:
    """An index over a whole corpus in memory."""

    def __init__(self, documents: Iterable[tuple[str, str]]) -> None:
        """Index (id, text) pairs."""
        import bm25s

        self._vocabulary: dict[str, int] = {}
        self._ids: list[str] = []
        rows: list[list[int]] = []
        for document, text in documents:
            self._ids.append(document)
            rows.append(
                [self._vocabulary.setdefault(word, len(self._vocabulary)) for word in words(text)]
            )
        self._index: bm25s.BM25 | None = None
        if self._vocabulary:
            self._index = bm25s.BM25(method="lucene", k1=K1, b=B)
            self._index.index((rows, self._vocabulary), show_progress=False)

    def search(self, query: str, depth: int) -> dict[str, float]:
        """Return the scores of the best `depth` documents that share a word with the query."""
        known = [self._vocabulary[word] for word in words(query) if word in self._vocabulary]
        if self._index is None or not known:
            return {}
        scores: Sequence[float] = self._index.get_scores_from_ids(known)
        best = np.argsort(-np.asarray(scores), kind="stable")[:depth]
        return {self._ids[i]: float(scores[i]) for i in best if scores[i] > 0}
