"""Which texts a step reads; follows from the seed and the step alone, so that a run can resume.

Pairs are drawn from all languages at once, each language by its weight and the square root of its
size, better sources more often. Passages are drawn from one language, in runs of neighbouring
sections, which are each other's hard negatives.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from embedge.models.recipes.corpus import Corpus
from embedge.models.recipes.packing import Elements, Int64
from embedge.models.recipes.settings import TextSettings, TrainingSettings
from embedge.models.recipes.vocabulary import script_of

RUN = 6
"""Neighbouring sections that come together."""

SHORTEST_LONG, LONGEST_LONG, MOST_PARTS = 160, 500, 8
"""Tokens of joined sections, and how many are joined at most."""

Kind = Literal["passage", "joined", "sentence", "words"]
KINDS: Mapping[Kind, float] = {"passage": 0.4, "joined": 0.2, "sentence": 0.15, "words": 0.25}
"""What a passage step holds: sections with their query, joined sections, sentences as queries, or
sentences with words between them that the student has no piece for."""

MOST_WORDS = 6
"""Behind each sentence."""
SCRIPT_SAMPLE = 50
"""Passages of a language whose letters are counted."""


@dataclass(frozen=True)
class Weights:
    """How much of each language and source is read; what is not named has weight 1."""

    languages: Mapping[str, float]
    sources: Mapping[str, float]
    other_languages: float


@dataclass(frozen=True)
class PassageDraw:
    """Rows of a passage step.

    `rows` (n,) are the corpus's passages, `queries` (n,) texts, `passages` what is found by them.
    `english_queries` and `english_passages` (n,) are the texts of the same sections in English,
    or the sections' own; None where sections are joined or sentences stand for queries.
    """

    kind: Kind
    rows: Int64
    queries: Int64
    passages: Elements
    english_queries: Int64 | None = None
    english_passages: Int64 | None = None


def is_held_back(key: str, share: float) -> bool:
    """Whether a text is kept for validation: by a hash of its English side or key."""
    return zlib.crc32(key.encode()) < share * 2**32


def at_step(seed: int, step: int) -> np.random.Generator:
    """The random numbers of one step."""
    return np.random.default_rng((seed, step))


class PairStream:
    """Draws rows of `corpus.pairs`."""

    def __init__(self, corpus: Corpus, weights: Weights) -> None:
        language, source = corpus.pairs[:, 2], corpus.pairs[:, 3]
        of_source = np.array([weights.sources.get(s, 1.0) for s in corpus.sources])[source]
        total = np.bincount(language, of_source, len(corpus.languages))
        size = np.bincount(language, minlength=len(corpus.languages))
        wanted = _language_weights(corpus, weights) * np.sqrt(size)
        share = of_source * (wanted / np.maximum(total, 1e-9))[language]
        self._cumulative = np.cumsum(share / share.sum())

    def draw(self, random: np.random.Generator, count: int) -> Int64:
        """`count` rows."""
        found = np.searchsorted(self._cumulative, random.random(count))
        rows: Int64 = np.minimum(found, len(self._cumulative) - 1)
        return rows


class PassageStream:
    """Draws passage steps; `lengths` are the texts' tokens."""

    def __init__(
        self, corpus: Corpus, weights: Weights, lengths: Int64, cross_lingual: float
    ) -> None:
        self._corpus = corpus
        self._lengths = lengths
        self._cross_lingual = cross_lingual
        rows = corpus.passages
        size = np.bincount(rows[:, 3], minlength=len(corpus.languages))
        share = _language_weights(corpus, weights) * np.sqrt(size)
        self._share = share / share.sum()
        of_source = np.array([weights.sources.get(s, 1.0) for s in corpus.sources])
        self._source_weight = of_source[rows[:, 4]]
        self._members = [np.flatnonzero(rows[:, 3] == i) for i in range(len(corpus.languages))]
        # Row of the English version of each row's section, and all versions of a section.
        self._english = np.arange(len(rows))
        if "en" in corpus.languages:
            english = self._members[corpus.languages.index("en")]
            by_key = np.full(int(rows[:, 2].max(initial=0)) + 1, -1)
            by_key[rows[english, 2]] = english
            found = by_key[rows[:, 2]]
            self._english = np.where(found >= 0, found, self._english)
        self._by_key = np.argsort(rows[:, 2], kind="stable")
        self._key_start = np.searchsorted(rows[self._by_key, 2], rows[:, 2])
        self._key_count = np.bincount(rows[:, 2])[rows[:, 2]]
        sentences = corpus.sentences
        self._sentence_start = np.searchsorted(sentences[:, 1], np.arange(len(rows)))
        self._sentence_count = np.bincount(sentences[:, 1], minlength=len(rows))
        by_script = corpus.words[np.argsort(corpus.words[:, 1], kind="stable")]
        self._words = by_script[:, 0].astype(np.int64)
        self._word_start = np.searchsorted(by_script[:, 1], np.arange(len(corpus.scripts)))
        self._word_count = np.bincount(by_script[:, 1], minlength=len(corpus.scripts))
        self._scripts = _script_shares(corpus, self._members)

    def draw(self, random: np.random.Generator, count: int) -> PassageDraw:
        """About `count` sections, or half as many joined ones."""
        kind: Kind = random.choice(list(KINDS), p=list(KINDS.values()))
        rows = self._runs(random, count)
        if kind == "joined":
            return self._joined(random, rows[: (len(rows) + 1) // 2])
        cut = rows[self._sentence_count[rows] > 0]
        if kind == "sentence" and len(cut):
            return self._sentences(random, cut)
        shares = self._scripts[self._corpus.passages[rows[0], 3]]
        if kind == "words" and len(cut) and shares.any():
            return self._with_words(random, cut, shares)
        texts = self._corpus.passages
        asked = rows
        if random.random() < self._cross_lingual:
            nth = (random.random(len(rows)) * self._key_count[rows]).astype(np.int64)
            asked = self._by_key[self._key_start[rows] + nth]
        english = self._english[rows]
        return PassageDraw(
            "passage",
            rows,
            texts[asked, 1].astype(np.int64),
            Elements.single(texts[rows, 0]),
            texts[english, 1].astype(np.int64),
            texts[english, 0].astype(np.int64),
        )

    def _runs(self, random: np.random.Generator, count: int) -> Int64:
        members = self._members[random.choice(len(self._share), p=self._share)]
        weight = self._source_weight[members]
        runs = max(1, min(count, len(members)) // RUN)
        starts = random.choice(len(members), size=runs, p=weight / weight.sum())
        places = np.minimum(starts[:, None] + np.arange(RUN), len(members) - 1)
        rows: Int64 = members[np.unique(places)]
        return rows

    def _sentence_of(self, random: np.random.Generator, rows: Int64) -> Int64:
        nth = (random.random(len(rows)) * self._sentence_count[rows]).astype(np.int64)
        texts: Int64 = self._corpus.sentences[self._sentence_start[rows] + nth, 0].astype(np.int64)
        return texts

    def _sentences(self, random: np.random.Generator, rows: Int64) -> PassageDraw:
        queries = self._sentence_of(random, rows)
        passages = Elements.single(self._corpus.passages[rows, 0])
        return PassageDraw("sentence", rows, queries, passages)

    def _with_words(
        self, random: np.random.Generator, rows: Int64, shares: npt.NDArray[np.float64]
    ) -> PassageDraw:
        """Each sentence, words, the next one, words; found by the first sentence."""
        sentences = self._sentence_of(random, rows)
        counts = random.integers(1, MOST_WORDS + 1, (len(rows), 2))
        script = random.choice(len(shares), size=counts.sum(), p=shares)
        nth = (random.random(len(script)) * self._word_count[script]).astype(np.int64)
        lengths = 1 + counts  # a sentence, then its words
        ends = np.cumsum(lengths)
        texts = np.empty(ends[-1], np.int64)
        is_sentence = np.zeros(len(texts), np.bool_)
        is_sentence[ends - lengths.ravel()] = True
        texts[is_sentence] = np.stack([sentences, np.roll(sentences, -1)], 1).ravel()
        texts[~is_sentence] = self._words[self._word_start[script] + nth]
        owner = np.repeat(np.arange(len(rows)), lengths.sum(1))
        return PassageDraw("words", rows, sentences, Elements(texts, owner, len(rows)))

    def _joined(self, random: np.random.Generator, rows: Int64) -> PassageDraw:
        table = self._corpus.passages
        wanted = random.uniform(SHORTEST_LONG, LONGEST_LONG, len(rows))
        texts, owner, queries = [], [], []
        for element, (row, tokens) in enumerate(zip(rows.tolist(), wanted, strict=True)):
            length, last = 0, row
            while (
                length < tokens
                and last < len(table)
                and last - row < MOST_PARTS
                and (table[last, 3:] == table[row, 3:]).all()
            ):
                texts.append(int(table[last, 0]))
                owner.append(element)
                length += int(self._lengths[table[last, 0]])
                last += 1
            asked = row if random.random() < 0.5 else int(random.integers(row, last))
            queries.append(int(table[asked, 1]))
        passages = Elements(np.array(texts, np.int64), np.array(owner, np.int64), len(rows))
        return PassageDraw("joined", rows, np.array(queries, np.int64), passages)


class Streams:
    """The rows that each step reads."""

    def __init__(
        self, corpus: Corpus, lengths: Int64, text: TextSettings, training: TrainingSettings
    ) -> None:
        pairs = Weights(text.language_weights, text.source_weights, text.other_languages)
        passages = Weights(text.passage_language_weights, text.source_weights, 1.0)
        self.corpus = corpus
        self._settings = training
        self._pairs = PairStream(corpus, pairs)
        self._passages = PassageStream(corpus, passages, lengths, training.cross_lingual)

    def of_passages(self, step: int) -> bool:
        """Whether the step holds passages."""
        every = self._settings.passages_every
        return step % every == every - 1

    def pairs(self, step: int) -> tuple[np.random.Generator, Int64]:
        """The step's random numbers, and its rows of pairs."""
        random = at_step(self._settings.seed, step)
        return random, self._pairs.draw(random, self._settings.pairs)

    def passages(self, step: int) -> tuple[np.random.Generator, PassageDraw]:
        """The step's random numbers, and its passages."""
        random = at_step(self._settings.seed, step)
        return random, self._passages.draw(random, self._settings.passages)


def _script_shares(corpus: Corpus, members: list[Int64]) -> npt.NDArray[np.float64]:
    """(languages, scripts): shares of a language's letters in scripts that have words."""
    shares = np.zeros((len(corpus.languages), len(corpus.scripts)))
    known = {script: i for i, script in enumerate(corpus.scripts)}
    for language, rows in enumerate(members):
        for row in rows[:: max(1, len(rows) // SCRIPT_SAMPLE)]:
            for letter in filter(str.isalpha, corpus.texts[corpus.passages[row, 0]][:300]):
                place = known.get(str(script_of(letter)))
                if place is not None:
                    shares[language, place] += 1
    normalised: npt.NDArray[np.float64] = shares / np.maximum(shares.sum(1, keepdims=True), 1)
    return normalised


def _language_weights(corpus: Corpus, weights: Weights) -> npt.NDArray[np.float64]:
    named = weights.languages
    return np.array([named.get(name, weights.other_languages) for name in corpus.languages])
