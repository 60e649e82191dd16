"""Scores on held-back training text: agreement with the teacher, translations and passages found.

Nothing here is evaluation text; it only tells whether training still pays.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import torch

from embedge.models.recipes.card import Health
from embedge.models.recipes.losses import unit
from embedge.models.recipes.network import Encoder, padded
from embedge.models.recipes.tokens import TextEncoder
from embedge.models.recipes.training_text import Pair, Passage, sample

Targets = Callable[[Sequence[str], str, int], torch.Tensor]
QUERY, DOCUMENT = "search_query: ", "search_document: "
PAIRS, PASSAGES, BATCH = 384, 96, 32
LEAST_TEXTS = 40
"""A language with fewer held-back texts is not shown in the expert use."""


class Validation:
    """A fixed sample of the held-back text; the teacher runs over it once."""

    def __init__(
        self, pairs: Sequence[Pair], passages: Sequence[Passage], tokens: TextEncoder
    ) -> None:
        some = sample(pairs, PAIRS, seed=3)
        found = sample(passages, PASSAGES, seed=3)
        self._tokens = tokens
        self._texts = {
            "text": ([p.text for p in some], QUERY, 80),
            "english": ([p.english for p in some], QUERY, 80),
            "query": ([p.query for p in found], QUERY, 48),
            "passage": ([p.text for p in found], DOCUMENT, 192),
        }
        self._targets: dict[str, torch.Tensor] = {}

    def scores(self, student: Encoder, targets: Targets) -> dict[str, float]:
        """Mean cosines to the teacher and shares found, at 384 and 128, and the expert shares."""
        if not self._targets:
            self._targets = {
                name: torch.cat([targets(part, prefix, limit) for part in _parts(texts)])
                for name, (texts, prefix, limit) in self._texts.items()
            }
        loads = [torch.zeros_like(e.load) for e in student.experts()]
        own = {name: self._embed(student, name, loads) for name in self._texts}
        taught = self._targets
        mixed = unit(taught["text"] + taught["english"])
        scores = {
            "cosine_text": _cosine(own["text"], taught["text"]),
            "cosine_mixed": _cosine(own["text"], mixed),
            "cosine_query": _cosine(own["query"], taught["query"]),
            "cosine_passage": _cosine(own["passage"], taught["passage"]),
        }
        for size in (384, 128):
            cut = {name: unit(value[:, :size]) for name, value in own.items()}
            scores[f"translation_{size}"] = _found(cut["text"], cut["english"])
            scores[f"passage_{size}"] = _found(cut["query"], cut["passage"])
        scores["translation_teacher"] = _found(taught["text"], taught["english"])
        scores["passage_teacher"] = _found(taught["query"], taught["passage"])
        for i, load in enumerate(loads):
            share = load / load.sum()
            scores[f"least_load_{i}"] = float(share.min())
            scores[f"most_load_{i}"] = float(share.max())
        return scores

    def _embed(self, student: Encoder, name: str, loads: list[torch.Tensor]) -> torch.Tensor:
        texts, prefix, limit = self._texts[name]
        out = []
        with torch.no_grad():
            for part in _parts(texts):
                ids = self._tokens.ids(part, prefix, limit)
                out.append(student(*padded(ids)))
                for load, experts in zip(loads, student.experts(), strict=True):
                    load += experts.load * sum(map(len, ids))
        return unit(torch.cat(out))


def measure_health(
    student: Encoder, tokens: TextEncoder, pairs: Sequence[Pair], layers: Sequence[int]
) -> Health:
    """Cosines of translations and of random pairs, and each language's expert shares."""
    some = sample(pairs, PAIRS, seed=4)
    by_language: dict[str, list[str]] = defaultdict(list)
    for pair in pairs:
        by_language[pair.language].append(pair.text)
        by_language["en"].append(pair.english)
    use = {}
    with torch.no_grad():
        sides = [
            unit(torch.cat([student(*padded(tokens.ids(part, QUERY, 80))) for part in _parts(t)]))
            for t in ([p.text for p in some], [p.english for p in some])
        ]
        for language, texts in by_language.items():
            if len(texts) >= LEAST_TEXTS:
                student(*padded(tokens.ids(texts[:LEAST_TEXTS], QUERY, 80)))
                use[language] = np.stack([e.load.double().numpy() for e in student.experts()])
    cosines = (sides[0] @ sides[1].t()).numpy()
    others = ~np.eye(len(cosines), dtype=bool)
    return Health(np.diag(cosines), cosines[others], use, layers)


def _parts(texts: list[str]) -> list[list[str]]:
    return [texts[i : i + BATCH] for i in range(0, len(texts), BATCH)]


def _cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a * b).sum(1).mean())


def _found(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(((a @ b.t()).argmax(1) == torch.arange(len(a))).float().mean())
