"""How far quantized vectors lie from those of the fp32 parent, on a fixed set of texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embedge.models.manifest import Json
from embedge.models.sample_texts import TEXT_KINDS

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

_NEIGHBOURS = 10


@dataclass(frozen=True)
class SizeDistance:
    """Cosines between quantized and parent vectors of one output size."""

    mean: float
    p1: float
    min: float


@dataclass(frozen=True)
class Distance:
    """One variant against its parent.

    Attributes:
        sizes: by output size, largest first.
        max_abs: largest difference of a feature of the unit vectors, largest size.
        by_language: mean cosine per language or kind of text, largest size.
        top10_overlap: share of each text's ten nearest neighbours in the set that stay the same.
        routing_agreement: per router, share of tokens with the same set of experts.
        texts: number of texts.
    """

    sizes: Mapping[int, SizeDistance]
    max_abs: float
    by_language: Mapping[str, float]
    top10_overlap: float
    routing_agreement: Mapping[str, float] = field(default_factory=dict)
    texts: int = 0

    @property
    def full(self) -> SizeDistance:
        """Figures of the largest size."""
        return self.sizes[max(self.sizes)]

    @property
    def worst_language(self) -> tuple[str, float]:
        """Language with the lowest mean cosine, and that mean; kinds of text are no languages."""
        languages = [item for item in self.by_language.items() if item[0] not in TEXT_KINDS]
        return min(languages or self.by_language.items(), key=lambda item: item[1])

    def figures(self) -> dict[str, float]:
        """Return the figures that floors can bind."""
        return {
            "mean": self.full.mean,
            "p1": self.full.p1,
            "min": self.full.min,
            "language": self.worst_language[1],
            "top10_overlap": self.top10_overlap,
        }

    def to_json(self) -> dict[str, Json]:
        """Return plain numbers with six digits."""
        return {
            **{key: _short(value) for key, value in self.figures().items()},
            "max_abs": _short(self.max_abs),
            "texts": self.texts,
            "sizes": {
                str(dim): {"mean": _short(s.mean), "p1": _short(s.p1), "min": _short(s.min)}
                for dim, s in self.sizes.items()
            },
            "by_language": {name: _short(value) for name, value in self.by_language.items()},
            "routing_agreement": {
                name: _short(value) for name, value in self.routing_agreement.items()
            },
        }


def compare(
    parent: Float32, child: Float32, languages: Sequence[str], dims: Sequence[int]
) -> Distance:
    """Compare pooled vectors (texts, hidden), cut to each of `dims` and made unit length."""
    full = max(dims)
    a, b = unit(parent, full), unit(child, full)
    cosine = cosines(a, b)
    groups: dict[str, list[float]] = {language: [] for language in sorted(set(languages))}
    for language, value in zip(languages, cosine.tolist(), strict=True):
        groups[language].append(value)
    return Distance(
        sizes={
            dim: _size_distance(cosines(unit(parent, dim), unit(child, dim)))
            for dim in sorted(dims, reverse=True)
        },
        max_abs=float(np.abs(a - b).max()),
        by_language={language: float(np.mean(values)) for language, values in groups.items()},
        top10_overlap=neighbour_overlap(a, b),
        texts=len(languages),
    )


def unit(pooled: Float32, dim: int) -> Float32:
    """Cut to `dim` features and scale to unit length: (texts, dim)."""
    cut = pooled[:, :dim]
    vectors: Float32 = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    return vectors


def cosines(a: Float32, b: Float32) -> NDArray[np.float64]:
    """Return the cosine of each pair of unit rows: (texts,)."""
    products: NDArray[np.float64] = (a.astype(np.float64) * b).sum(axis=1)
    return products


def neighbour_overlap(a: Float32, b: Float32) -> float:
    """Return the mean share of common members among the nearest neighbours of each text."""
    count = min(_NEIGHBOURS, len(a) - 1)
    if count < 1:
        return 1.0
    first, second = _neighbours(a, count), _neighbours(b, count)
    common = [len(set(x) & set(y)) for x, y in zip(first, second, strict=True)]
    return float(np.mean(common)) / count


def same_experts(parent: Int64, child: Int64) -> float:
    """Return the share of tokens whose sets of experts (tokens, k) are equal, order aside."""
    return float((np.sort(parent, axis=1) == np.sort(child, axis=1)).all(axis=1).mean())


def _neighbours(vectors: Float32, count: int) -> list[list[int]]:
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    order = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
    nearest: list[list[int]] = order.tolist()
    return nearest


def _size_distance(cosine: NDArray[np.float64]) -> SizeDistance:
    return SizeDistance(float(cosine.mean()), float(np.quantile(cosine, 0.01)), float(cosine.min()))


def _short(value: float) -> float:
    return round(value, 6)
