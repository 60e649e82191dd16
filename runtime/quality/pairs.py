"""Pairs of sentences: translations that must find each other, and graded similarity."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from embedge.models.errors import InputError
from embedge.runtime.quality.bootstrap import resampled, resampled_mean
from embedge.runtime.quality.measures import bitext_hits, spearman
from embedge.runtime.quality.task import Encode, Kind, Outcome, Role


@dataclass(frozen=True)
class BitextTask:
    """Line i of one language is the translation of line i of the other."""

    name: str
    group: str
    languages: tuple[str, ...]
    read: Callable[[], list[tuple[str, str]]]
    kind: Kind = "bitext"

    def texts(self) -> Iterator[tuple[Role, str]]:
        """Yield all first sentences, then all second ones."""
        pairs = self.read()
        for side in (0, 1):
            for pair in pairs:
                yield "bitext", pair[side]

    def evaluate(self, encode: Encode) -> Outcome:
        """Count the sentences whose nearest neighbour is their translation, both ways."""
        pairs = self.read()
        first, second = (encode([pair[side] for pair in pairs], "bitext") for side in (0, 1))
        forward, backward = bitext_hits(first, second)
        both = (forward.astype(np.float64) + backward) / 2
        # Lines of two files are not parallel; the name keeps their resamples apart.
        ids = [f"{self.name}:{line}" for line in range(len(pairs))]
        return Outcome(
            n_items=len(pairs),
            measures={
                "accuracy": float(both.mean()),
                "accuracy forward": float(forward.mean()),
                "accuracy backward": float(backward.mean()),
            },
            samples=resampled_mean(ids, both),
        )


@dataclass(frozen=True)
class ScoredPair:
    """Two sentences and how alike people found them."""

    score: float
    first: str
    second: str


@dataclass(frozen=True)
class StsTask:
    """Semantic textual similarity; `read` gives row id -> pair."""

    name: str
    group: str
    languages: tuple[str, ...]
    split: str
    read: Callable[[], Mapping[str, ScoredPair]]
    kind: Kind = "sts"

    def texts(self) -> Iterator[tuple[Role, str]]:
        """Yield all sentences."""
        for pair in self.read().values():
            yield "sts", pair.first
            yield "sts", pair.second

    def evaluate(self, encode: Encode) -> Outcome:
        """Correlate the ranks of cosine and score."""
        pairs = self.read()
        first = encode([pair.first for pair in pairs.values()], "sts")
        second = encode([pair.second for pair in pairs.values()], "sts")
        cosine = np.einsum("id,id->i", first, second, dtype=np.float64)
        gold = np.array([pair.score for pair in pairs.values()])
        return Outcome(
            n_items=len(pairs),
            measures={"Spearman": float(spearman(gold[None], cosine[None])[0])},
            samples=resampled(list(pairs), lambda rows: spearman(gold[rows], cosine[rows])),
        )

    def crossed_with(self, other: "StsTask") -> "StsTask":
        """Return first sentences of this language against second ones of another, by row."""
        source, target = self.languages[0], other.languages[0]
        parent = self.name.rpartition("/")[0]
        stem = f"{source}-{target}" + (f".{self.split}" if self.split else "")
        return replace(
            self,
            name=f"{parent}/{stem}" if parent else stem,
            group=f"{self.group} (cross-lingual)",
            languages=(source, target),
            read=lambda: _joined(self.read(), other.read(), f"{self.name} and {other.name}"),
        )


def _joined(
    first: Mapping[str, ScoredPair], second: Mapping[str, ScoredPair], names: str
) -> dict[str, ScoredPair]:
    pairs = {
        row: ScoredPair(pair.score, pair.first, second[row].second)
        for row, pair in first.items()
        if row in second
    }
    if not pairs:
        raise InputError(f"{names} share no row; cross-lingual pairs are joined by the row column")
    return pairs
