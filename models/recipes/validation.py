"""Scores on held-back training text: agreement with the teacher, translations and passages found.

Nothing here is evaluation text; it only tells whether training still pays.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch

from embedge.models.recipes.batches import DOCUMENT, QUERY, SIMILARITY
from embedge.models.recipes.card import Health
from embedge.models.recipes.corpus import Corpus
from embedge.models.recipes.losses import SIZES, unit
from embedge.models.recipes.network import Encoder, to_batch
from embedge.models.recipes.package_text import GLOSS_SOURCE
from embedge.models.recipes.packing import Elements, Int64, pack
from embedge.models.recipes.teachers import half_precision
from embedge.models.recipes.tokenized import Tokenized

Targets = Callable[[Elements, str, int], torch.Tensor]
PAIRS, PASSAGES, GLOSSES, GRADED, PART = 2048, 1024, 512, 3300, 128
NEAREST = 10
LEAST_TEXTS = 40
"""A language with fewer held-back texts is not shown in the expert use."""


class Validation:
    """A fixed sample of the held-back text; the teacher runs over it once."""

    def __init__(self, held: Corpus, tokens: Tokenized, targets: Targets) -> None:
        random = np.random.default_rng(3)
        is_gloss = np.array([s == GLOSS_SOURCE for s in held.sources])[held.passages[:, 4]]
        pairs = _sample(random, held.pairs, PAIRS)
        passages = _sample(random, held.passages[~is_gloss], PASSAGES)
        glosses = _sample(random, held.passages[is_gloss], GLOSSES)
        graded = _sample(random, held.graded, GRADED)
        # The same sentence or section in another language is as right an answer.
        self._same = {
            "translation": torch.from_numpy(pairs[:, 1]),
            "passage": torch.from_numpy(passages[:, 2]),
            "gloss": torch.from_numpy(glosses[:, 2]),
        }
        self._graded = graded[:, 2:]
        self._tokens = tokens
        texts = {
            "text": (pairs[:, 0], QUERY, 96),
            "english": (pairs[:, 1], QUERY, 96),
            "query": (passages[:, 1], QUERY, 64),
            "passage": (passages[:, 0], DOCUMENT, 512),
            "word": (glosses[:, 1], QUERY, 64),
            "gloss": (glosses[:, 0], DOCUMENT, 512),
            "left": (graded[:, 0], SIMILARITY, 96),
            "right": (graded[:, 1], SIMILARITY, 96),
        }
        self._texts = {name: value for name, value in texts.items() if len(value[0])}
        self._targets = {
            name: torch.cat([targets(Elements.single(p), prefix, limit) for p in _parts(texts)])
            for name, (texts, prefix, limit) in self._texts.items()
        }

    def scores(self, student: Encoder) -> dict[str, float]:
        """Similarities' distance to the teacher's, shares found, nearest ones shared with it."""
        loads = [torch.zeros_like(e.load) for e in student.experts()]
        own = {}
        for name, (texts, prefix, limit) in self._texts.items():
            own[name] = embed_texts(student, self._tokens, texts, prefix, limit, loads)
        taught = self._targets
        scores: dict[str, float] = {}
        for name in ("text", "passage"):
            wanted = taught[name] @ taught[name].t()
            scores[f"similarity_{name}"] = float((own[name] @ own[name].t() - wanted).abs().mean())
        for size in SIZES:
            cut = {name: unit(value[:, :size]) for name, value in own.items()}
            scores |= self._found(cut, str(size))
        scores |= self._found(taught, "teacher")
        for i, load in enumerate(loads):
            share = load / load.sum()
            scores[f"least_load_{i}"] = float(share.min())
            scores[f"most_load_{i}"] = float(share.max())
        return scores

    def _found(self, vectors: Mapping[str, torch.Tensor], of: str) -> dict[str, float]:
        """Shares of translations, passages and glosses that are nearest to what asks for them.

        For passages also the share of the teacher's nearest ten that are the student's, too; for
        graded pairs the rank correlation, mean over languages.
        """
        shares = {}
        for name, asked, answers in (
            ("translation", "text", "english"),
            ("passage", "query", "passage"),
            ("gloss", "word", "gloss"),
        ):
            if asked in vectors:
                nearest = (vectors[asked] @ vectors[answers].t()).argmax(1).cpu()
                same = self._same[name]
                shares[f"{name}_{of}"] = float((same[nearest] == same).float().mean())
        shares[f"agreement_{of}"] = _overlap(vectors, self._targets)
        if "left" in vectors:
            cosines = (vectors["left"] * vectors["right"]).sum(1).cpu().numpy()
            language, grade = self._graded.T
            shares[f"graded_{of}"] = float(
                np.mean(
                    [
                        _rank_correlation(cosines[language == i], grade[language == i])
                        for i in np.unique(language)
                    ]
                )
            )
        return shares


def _sample(random: np.random.Generator, rows: npt.NDArray[np.int32], most: int) -> Int64:
    return rows[random.permutation(len(rows))[:most]].astype(np.int64)


def _overlap(own: Mapping[str, torch.Tensor], taught: Mapping[str, torch.Tensor]) -> float:
    count = min(NEAREST, len(taught["passage"]))
    nearest = [
        torch.zeros(len(v["query"]), len(v["passage"]), dtype=torch.bool).scatter_(
            1, (v["query"] @ v["passage"].t()).topk(count).indices.cpu(), True
        )
        for v in (own, taught)
    ]
    return float((nearest[0] & nearest[1]).sum() / nearest[1].sum())


def _rank_correlation(a: npt.NDArray[np.floating], b: npt.NDArray[np.integer]) -> float:
    """Spearman's, ties with their mean rank."""
    ranks = []
    for values in (a, b):
        _, place, count = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(count) - (count - 1) / 2)[place])
    return float(np.corrcoef(*ranks)[0, 1])


def embed_texts(
    student: Encoder,
    tokens: Tokenized,
    texts: Int64,
    prefix: str,
    limit: int,
    loads: list[torch.Tensor] | None = None,
) -> torch.Tensor:
    """Unit vectors (texts, 384); the slots that each expert got are added to `loads`."""
    out = []
    device = student.rows.device
    with torch.no_grad(), half_precision(device):
        for part in _parts(texts):
            elements = Elements.single(part)
            packed = pack(tokens.student, elements, tokens.student_prefixes[prefix], limit)
            out.append(student(to_batch(packed, device)))
            for load, experts in zip(loads or [], student.experts(), strict=bool(loads)):
                load += experts.load.to(load.device) * len(packed.ids)
    return unit(torch.cat(out))


def measure_health(student: Encoder, held: Corpus, tokens: Tokenized, layers: list[int]) -> Health:
    """Cosines of translations and of random pairs, and each language's expert shares."""
    random = np.random.default_rng(4)
    some = held.pairs[random.permutation(len(held.pairs))[:512]].astype(np.int64)
    sides = [embed_texts(student, tokens, some[:, i], QUERY, 96) for i in (0, 1)]
    cosines = (sides[0] @ sides[1].t()).cpu().numpy()
    use = {}
    for number, language in [*enumerate(held.languages), (-1, "en")]:
        of_language = held.pairs[held.pairs[:, 2] == number, 0] if number >= 0 else some[:, 1]
        texts = np.unique(of_language.astype(np.int64))
        if len(texts) >= LEAST_TEXTS and (number < 0 or language != "en"):
            loads = [torch.zeros_like(e.load) for e in student.experts()]
            embed_texts(student, tokens, texts[:400], QUERY, 96, loads)
            use[language] = np.stack([(x / x.sum()).double().cpu().numpy() for x in loads])
    others = ~np.eye(len(cosines), dtype=bool)
    return Health(np.diag(cosines), cosines[others], use, layers)


def _parts(texts: Int64) -> list[Int64]:
    return [texts[i : i + PART] for i in range(0, len(texts), PART)]
