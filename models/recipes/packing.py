"""Token ids of many texts in one flat array, and batches cut from it without padding.

A batch element is one text or several joined ones (neighbouring sections of a document). Words are
cut independently of each other by XLM-R's tokenizer, so the tokens of joined texts are the joined
tokens of the texts.
"""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

CHUNK = 20_000
"""Texts handed to a tokenizer at once."""


@dataclass(frozen=True)
class FlatTokens:
    """Ids of every text without prefix and special tokens; text i is ids[offsets[i]:offsets[i+1]].

    `begin` and `end` are the special tokens around a text.
    """

    ids: Int32
    offsets: Int64
    begin: int
    end: int

    def lengths(self) -> Int64:
        """Tokens of every text."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class Packed:
    """A batch: `ids` (tokens,) of all elements one after another, `lengths` (elements,)."""

    ids: Int64
    lengths: Int64


@dataclass(frozen=True)
class Elements:
    """What a batch holds: `texts` (parts,) in order, `owner` (parts,) their element, ascending."""

    texts: Int64
    owner: Int64
    count: int

    @staticmethod
    def single(texts: npt.NDArray[np.integer]) -> "Elements":
        """Every text is an element of its own."""
        return Elements(texts.astype(np.int64), np.arange(len(texts)), len(texts))


@dataclass(frozen=True)
class PieceSplits:
    """How each piece is cut when it is left out: `counts` (pieces,), `parts` (pieces, most).

    A count of 1 means that the piece cannot be cut.
    """

    counts: Int64
    parts: Int32


def open_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer that neither pads nor cuts."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def flat_tokens(tokenizer: Path, texts: Sequence[str], workers: int = 1) -> FlatTokens:
    """Tokens of all texts; many texts are shared out to processes.

    Args:
        tokenizer: `tokenizer.json`.
        texts: in order.
        workers: processes at most.
    """
    begin, end = open_tokenizer(tokenizer).encode("").ids
    chunks = [list(texts[i : i + CHUNK]) for i in range(0, len(texts), CHUNK)]
    if workers > 1 and len(chunks) > 1:
        spawned = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, spawned) as pool:
            found = list(pool.map(_chunk_tokens, repeat(tokenizer), chunks))
    else:
        found = [_chunk_tokens(tokenizer, chunk) for chunk in chunks]
    ids = np.concatenate([np.zeros(0, np.int32), *(i for i, _ in found)])
    lengths = np.concatenate([np.zeros(1, np.int64), *(n for _, n in found)])
    return FlatTokens(ids, np.cumsum(lengths), begin, end)


def _chunk_tokens(tokenizer: Path, texts: list[str]) -> tuple[Int32, Int64]:
    found = open_tokenizer(tokenizer).encode_batch_fast(texts, add_special_tokens=False)
    ids = [e.ids for e in found]
    flat = np.fromiter(chain.from_iterable(ids), np.int32)
    return flat, np.array([len(i) for i in ids], np.int64)


def pack(
    tokens: FlatTokens,
    elements: Elements,
    prefix: Sequence[int],
    limit: int,
    *,
    splits: PieceSplits | None = None,
    share: float = 0.0,
    draw: np.random.Generator | None = None,
) -> Packed:
    """Cut a batch out of the flat array.

    Args:
        tokens: of all texts.
        elements: what the batch holds.
        prefix: tokens before each element, behind the begin token.
        limit: tokens of an element at most, special tokens and prefix included.
        splits: how pieces are cut into smaller ones.
        share: of the pieces that are cut first, where there are `splits`.
        draw: chooses them.
    """
    start = tokens.offsets[elements.texts]
    count = tokens.offsets[elements.texts + 1] - start
    first = np.cumsum(count) - count
    place = np.arange(count.sum()) - np.repeat(first - start, count)
    ids, owner = tokens.ids[place].astype(np.int64), np.repeat(elements.owner, count)
    if splits is not None and draw is not None and share > 0:
        ids, owner = _cut_pieces(ids, owner, splits, draw.random(len(ids)) < share)
    own = np.bincount(owner, minlength=elements.count)
    position = np.arange(len(ids)) - np.repeat(np.cumsum(own) - own, own)
    most = limit - 2 - len(prefix)
    kept = position < most
    lengths = np.minimum(own, most) + 2 + len(prefix)
    begin = np.cumsum(lengths) - lengths
    out = np.empty(int(lengths.sum()), np.int64)
    out[begin] = tokens.begin
    for i, token in enumerate(prefix):
        out[begin + 1 + i] = token
    out[begin[owner[kept]] + 1 + len(prefix) + position[kept]] = ids[kept]
    out[begin + lengths - 1] = tokens.end
    return Packed(out, lengths)


def _cut_pieces(
    ids: Int64, owner: Int64, splits: PieceSplits, chosen: npt.NDArray[np.bool_]
) -> tuple[Int64, Int64]:
    counts = np.where(chosen, splits.counts[ids], 1)
    source = np.repeat(np.arange(len(ids)), counts)
    nth = np.arange(len(source)) - np.repeat(np.cumsum(counts) - counts, counts)
    cut = counts[source] > 1
    new = ids[source]
    new[cut] = splits.parts[new[cut], nth[cut]]
    return new, owner[source]


def piece_splits(pieces: Sequence[str], scores: Sequence[float], specials: int) -> PieceSplits:
    """The most probable cut of every piece into other pieces.

    Args:
        pieces: of a unigram vocabulary.
        scores: their log probabilities.
        specials: number of pieces at the start that are never cut.
    """
    known = {p: i for i, p in enumerate(pieces) if i >= specials}
    longest = max(map(len, known), default=0)
    found = [
        _best_cut(piece, known, scores, longest) if i >= specials else [i]
        for i, piece in enumerate(pieces)
    ]
    counts = np.array([len(f) for f in found], np.int64)
    parts = np.zeros((len(pieces), int(counts.max())), np.int32)
    for i, cut in enumerate(found):
        parts[i, : len(cut)] = cut
    return PieceSplits(counts, parts)


def _best_cut(
    piece: str, known: dict[str, int], scores: Sequence[float], longest: int
) -> list[int]:
    """Viterbi over all cuts but the piece as a whole; the piece itself where there is none."""
    size = len(piece)
    best = [0.0] + [-np.inf] * size
    last: list[tuple[int, int]] = [(0, 0)] * (size + 1)
    for end in range(1, size + 1):
        for start in range(max(0, end - longest), end):
            if end - start < size and best[start] > -np.inf:
                i = known.get(piece[start:end])
                if i is not None and best[start] + scores[i] > best[end]:
                    best[end] = best[start] + scores[i]
                    last[end] = (start, i)
    if size < 2 or best[size] == -np.inf:
        return [known[piece]]
    cut: list[int] = []
    while size:
        size, i = last[size]
        cut.append(i)
    return cut[::-1]
