"""Words of a text under two tokenizers: where both cut, their tokens say the same.

The student's pieces differ from the teacher's, so single tokens cannot be compared; the means over
stretches of text that begin and end at a cut of both can.
"""

from dataclasses import dataclass

import numpy as np

from embedge.models.recipes.packing import Int64, Packed

_ELEMENT = 2**32


@dataclass(frozen=True)
class Words:
    """Tokens of a batch by word: `tokens` (kept,); word j begins at `tokens[starts[j]]`."""

    tokens: Int64
    starts: Int64


@dataclass(frozen=True)
class Side:
    """One tokenizer's batch: `front` tokens before each text, characters of each piece."""

    packed: Packed
    front: int
    characters: Int64


def common_words(student: Side, teacher: Side) -> tuple[Words, Words]:
    """The same words in both batches, prefixes and special tokens left out.

    Texts with a piece of unknown length (0 characters) are left out whole.
    """
    sides = [_ends(side) for side in (student, teacher)]
    unknown = np.union1d(*(missing for _, _, missing in sides))
    (tokens_a, ends_a), (tokens_b, ends_b) = (
        (tokens[known], ends[known])
        for tokens, ends, _ in sides
        for known in [~np.isin(ends // _ELEMENT, unknown)]
    )
    common = np.intersect1d(ends_a, ends_b, assume_unique=True)
    return _words(tokens_a, ends_a, common), _words(tokens_b, ends_b, common)


def _ends(side: Side) -> tuple[Int64, Int64, Int64]:
    """Tokens of the texts, where each ends (text and character), texts to leave out."""
    lengths = side.packed.lengths
    owner = np.repeat(np.arange(len(lengths)), lengths)
    first = np.cumsum(lengths) - lengths
    position = np.arange(len(owner)) - first[owner]
    tokens = np.flatnonzero((position >= side.front) & (position < lengths[owner] - 1))
    owner = owner[tokens]
    size = side.characters[side.packed.ids[tokens]]
    total = np.cumsum(size)
    count = np.bincount(owner, minlength=len(lengths))
    before = np.concatenate([[0], total])[np.cumsum(count) - count]
    return tokens, owner * _ELEMENT + total - before[owner], np.unique(owner[size == 0])


def _words(tokens: Int64, ends: Int64, common: Int64) -> Words:
    word = np.searchsorted(common, ends)
    inside = word < len(common)
    inside[inside] = common[word[inside]] // _ELEMENT == ends[inside] // _ELEMENT
    starts = np.searchsorted(word[inside], np.arange(len(common)))
    return Words(tokens[inside], starts)
