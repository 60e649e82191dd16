"""What a step reads, as packed batches, and the teachers' answers to it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from embedge.models.recipes.curriculum import PassageDraw, Streams
from embedge.models.recipes.losses import unit
from embedge.models.recipes.network import Batch, to_batch
from embedge.models.recipes.packing import Elements, Int64, Packed, pack
from embedge.models.recipes.settings import TrainingSettings
from embedge.models.recipes.teachers import EnglishSimilarity, Question, Teacher
from embedge.models.recipes.tokenized import Tokenized

QUERY, DOCUMENT = "search_query: ", "search_document: "
PAIR_PREFIXES: Sequence[str] = (QUERY, DOCUMENT, "classification: ", "clustering: ")
PAIR_PREFIX_SHARES: Sequence[float] = (0.45, 0.25, 0.2, 0.1)
PAIR_LIMIT, QUERY_LIMIT, PASSAGE_LIMIT = 96, 64, 512
"""Tokens."""


@dataclass(frozen=True)
class PairBatch:
    """`both` holds the texts, then their English translations."""

    texts: Int64
    english: Int64
    both: Batch
    question: Question
    tokens: int


@dataclass(frozen=True)
class PassageBatch:
    """A passage step."""

    queries: Batch
    passages: Batch
    questions: tuple[Question, Question]
    english: tuple[Question, Question] | None
    tokens: int


class BatchMaker:
    """Packs the batches of the steps and asks the teachers."""

    def __init__(
        self,
        streams: Streams,
        tokens: Tokenized,
        teacher: Teacher,
        english: EnglishSimilarity | None,
        training: TrainingSettings,
        device: torch.device,
    ) -> None:
        self._streams = streams
        self._tokens = tokens
        self._teacher = teacher
        self._english = english
        self._settings = training
        self._device = device

    def at(self, step: int) -> PairBatch | PassageBatch:
        """The batch of a step."""
        if self._streams.of_passages(step):
            random, drawn = self._streams.passages(step)
            share = self._share(random)
            queries = Elements.single(drawn.queries)
            q = self._pack(queries, QUERY, QUERY_LIMIT, share, random)
            p = self._pack(drawn.passages, DOCUMENT, PASSAGE_LIMIT, share, random)
            return PassageBatch(
                to_batch(q, self._device),
                to_batch(p, self._device),
                self._questions(queries, drawn.passages),
                self._english_questions(drawn),
                len(q.ids) + len(p.ids),
            )
        random, rows = self._streams.pairs(step)
        texts, english = self._streams.corpus.pairs[rows, :2].astype(np.int64).T
        prefix = str(random.choice(PAIR_PREFIXES, p=PAIR_PREFIX_SHARES))
        both = Elements.single(np.concatenate([texts, english]))
        packed = self._pack(both, prefix, PAIR_LIMIT, self._share(random), random)
        batch = to_batch(packed, self._device)
        question = self._teacher.ask(both, prefix, PAIR_LIMIT)
        return PairBatch(texts, english, batch, question, len(packed.ids))

    def pair_targets(self, batch: PairBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Target vectors (pairs, 384) and wanted similarities (pairs, pairs)."""
        n = len(batch.texts)
        taught = self._teacher.answer(batch.question)
        share = self._settings.english_share
        target = unit((1 - share) * taught[:n] + share * taught[n:])
        wanted = target @ target.t()
        if self._english is not None:
            vectors = self._english.vectors(batch.english)
            second = self._settings.second_teacher
            wanted = (1 - second) * wanted + second * (vectors @ vectors.t())
        return target, wanted

    def passage_targets(self, batch: PassageBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Target vectors of queries and passages."""
        query, passage = map(self._teacher.answer, batch.questions)
        if batch.english is None:
            return query, passage
        share = self._settings.english_share
        english_q, english_p = map(self._teacher.answer, batch.english)
        return (
            unit((1 - share) * query + share * english_q),
            unit((1 - share) * passage + share * english_p),
        )

    def _questions(self, queries: Elements, passages: Elements) -> tuple[Question, Question]:
        return (
            self._teacher.ask(queries, QUERY, QUERY_LIMIT),
            self._teacher.ask(passages, DOCUMENT, PASSAGE_LIMIT),
        )

    def _english_questions(self, drawn: PassageDraw) -> tuple[Question, Question] | None:
        """The same sections in English, where they are others than those drawn."""
        queries, passages = drawn.english_queries, drawn.english_passages
        if queries is None or passages is None or (passages == drawn.passages.texts).all():
            return None
        return self._questions(Elements.single(queries), Elements.single(passages))

    def _share(self, random: np.random.Generator) -> float:
        """The share of pieces that are cut: none in half of the batches."""
        return self._settings.cut_pieces if random.random() < 0.5 else 0.0

    def _pack(
        self,
        elements: Elements,
        prefix: str,
        limit: int,
        share: float,
        random: np.random.Generator,
    ) -> Packed:
        tokens = self._tokens
        return pack(
            tokens.student,
            elements,
            tokens.student_prefixes[prefix],
            limit,
            splits=tokens.splits,
            share=share,
            draw=random,
        )
