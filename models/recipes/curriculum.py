"""The order in which the training text is read.

Every text has a place in one stream: languages interleave by weight, better sources come
earlier, nothing repeats before a language's text is used up. Batches are cut from windows of
the stream, with texts of like length together. All of it follows from the seed, so that a
resumed run goes on where it stopped.
"""

import math
import random
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from embedge.models.recipes.training_text import Pair, Passage

CHARACTERS_PER_TOKEN = {"zh": 1.4, "ja": 1.6, "th": 2.4, "ko": 1.9}
"""Rough, for batching only; other languages: 3.4."""

RUN = 6
"""Neighbouring sections that stay together, as each other's hard negatives."""


@dataclass(frozen=True)
class Weights:
    """How much of each language and source is read; what is not named has weight 1."""

    languages: Mapping[str, float]
    sources: Mapping[str, float]
    other_languages: float


def is_held_back(key: str, share: float) -> bool:
    """Whether a text is kept for validation: by a hash of its English side or key."""
    return zlib.crc32(key.encode()) < share * 2**32


def tokens_of(text: str, language: str) -> int:
    """Estimated token count, for batching only."""
    return 6 + int(len(text) / CHARACTERS_PER_TOKEN.get(language, 3.4))


def order(
    languages: Sequence[str], sources: Sequence[str], weights: Weights, seed: int
) -> list[int]:
    """Indices of the texts in stream order.

    Within a language by exponential keys (weighted sampling without replacement); a language's
    k-th text stands at k / weight.
    """
    draw = random.Random(seed)
    members: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for i, (language, source) in enumerate(zip(languages, sources, strict=True)):
        key = -math.log(1 - draw.random()) / weights.sources.get(source, 1.0)
        members[language].append((key, i))
    placed = []
    for language, keyed in members.items():
        pace = weights.languages.get(language, weights.other_languages)
        placed += [((rank + 0.5) / pace, i) for rank, (_, i) in enumerate(sorted(keyed))]
    return [i for _, i in sorted(placed)]


def pair_batches(
    pairs: Sequence[Pair], weights: Weights, *, tokens: int, seed: int, window: int = 8192
) -> Iterator[list[Pair]]:
    """Batches of at most about `tokens` tokens on both sides together; endless."""
    for epoch in range(1000):
        stream = order(
            [p.language for p in pairs], [p.source for p in pairs], weights, seed + epoch
        )
        for start in range(0, len(stream), window):
            some = [pairs[i] for i in stream[start : start + window]]
            lengths = [max(tokens_of(p.text, p.language), tokens_of(p.english, "en")) for p in some]
            batches = list(_cut(lengths, tokens // 2, most=160))
            random.Random(seed + epoch + start).shuffle(batches)
            yield from ([some[i] for i in batch] for batch in batches if len(batch) >= 8)


def passage_batches(
    passages: Sequence[Passage],
    weights: Weights,
    *,
    tokens: int,
    limit: int,
    seed: int,
    window: int = 600,
) -> Iterator[list[Passage]]:
    """Batches of one language each, in runs of neighbours, cut at `limit` tokens; endless."""
    runs = _runs(passages)
    languages, sources = [r[0].language for r in runs], [r[0].source for r in runs]
    for epoch in range(1000):
        stream = order(languages, sources, weights, seed + epoch)
        for start in range(0, len(stream), window):
            by_language: dict[str, list[list[Passage]]] = defaultdict(list)
            for i in stream[start : start + window]:
                by_language[runs[i][0].language].append(runs[i])
            batches = []
            for some in by_language.values():
                flat = [p for run in sorted(some, key=_mean_length) for p in run]
                batches += _filled(flat, tokens, limit)
            random.Random(seed + epoch + start).shuffle(batches)
            yield from (batch for batch in batches if len(batch) >= 8)


def _runs(passages: Sequence[Passage]) -> list[list[Passage]]:
    groups: dict[tuple[str, str], list[Passage]] = defaultdict(list)
    for passage in passages:
        groups[passage.language, passage.source].append(passage)
    return [g[i : i + RUN] for g in groups.values() for i in range(0, len(g), RUN)]


def _mean_length(run: list[Passage]) -> float:
    return sum(len(p.text) for p in run) / len(run)


def _cut(lengths: Sequence[int], tokens: int, *, most: int) -> Iterator[list[int]]:
    by_length = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    start = 0
    while start < len(by_length):
        count = max(8, min(most, tokens // lengths[by_length[start]]))
        yield by_length[start : start + count]
        start += count


def _filled(passages: Sequence[Passage], tokens: int, limit: int) -> list[list[Passage]]:
    batches: list[list[Passage]] = [[]]
    longest = 0
    for p in passages:
        length = min(limit, tokens_of(p.text, p.language)) + 16
        longest = max(longest, length)
        if batches[-1] and longest * (len(batches[-1]) + 1) > tokens:
            batches.append([])
            longest = length
        batches[-1].append(p)
    return batches
