"""What a step reads, as packed batches, and the teachers' answers to it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from embedge.models.recipes.curriculum import PassageDraw, Streams
from embedge.models.recipes.losses import unit
from embedge.models.recipes.network import Bags, Batch, to_bags, to_batch
from embedge.models.recipes.packing import Elements, Int64, Packed, pack
from embedge.models.recipes.settings import TrainingSettings
from embedge.models.recipes.teacher_file import LAYERS
from embedge.models.recipes.teachers import EnglishSimilarity, Question, Teacher
from embedge.models.recipes.tokenized import Tokenized
from embedge.models.recipes.words import Side, common_words

QUERY, DOCUMENT = "search_query: ", "search_document: "
SIMILARITY = "classification: "
PAIR_PREFIXES: Sequence[str] = (QUERY, DOCUMENT, SIMILARITY, "clustering: ")
PAIR_PREFIX_SHARES: Sequence[float] = (0.35, 0.3, 0.25, 0.1)
PAIR_LIMIT, QUERY_LIMIT, PASSAGE_LIMIT = 96, 64, 512
"""Tokens."""

WORD_LAYERS: Sequence[int] = (3, 6, 9)
"""Where states of words are compared; above them, translations move towards each other."""

PASSAGE_WORD_LAYERS: Sequence[int] = (*WORD_LAYERS, LAYERS)
"""In passages, which stay what they are to the teacher, the last states, too."""


@dataclass(frozen=True)
class PairBatch:
    """`both` holds the texts, then their English translations; `words` those of `both`."""

    texts: Int64
    english: Int64
    both: Batch
    question: Question
    prefix: str
    words: tuple[Bags, Bags]
    tokens: int


@dataclass(frozen=True)
class PassageBatch:
    """A passage step; `words` are those of the passages."""

    queries: Batch
    passages: Batch
    questions: tuple[Question, Question]
    english: tuple[Question, Question] | None
    words: tuple[Bags, Bags]
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
            questions = self._questions(queries, drawn.passages)
            return PassageBatch(
                to_batch(q, self._device),
                to_batch(p, self._device),
                questions,
                self._english_questions(drawn),
                self._words(p, DOCUMENT, questions[1]),
                len(q.ids) + len(p.ids),
            )
        random, rows = self._streams.pairs(step)
        texts, english = self._streams.corpus.pairs[rows, :2].astype(np.int64).T
        prefix = str(random.choice(PAIR_PREFIXES, p=PAIR_PREFIX_SHARES))
        both = Elements.single(np.concatenate([texts, english]))
        packed = self._pack(both, prefix, PAIR_LIMIT, self._share(random), random)
        batch = to_batch(packed, self._device)
        question = self._teacher.ask(both, prefix, PAIR_LIMIT)
        words = self._words(packed, prefix, question)
        return PairBatch(texts, english, batch, question, prefix, words, len(packed.ids))

    def pair_targets(
        self, batch: PairBatch
    ) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        """Target vectors (pairs, 384), wanted similarities (pairs, pairs), wanted word states."""
        n = len(batch.texts)
        taught, states = self._teacher.answer_with_states(batch.question, WORD_LAYERS)
        share = self._settings.english_share
        target = unit((1 - share) * taught[:n] + share * taught[n:])
        wanted = target @ target.t()
        if self._english is not None:
            vectors = self._english.vectors(batch.english)
            second = self._settings.second_teacher[batch.prefix]
            wanted = (1 - second) * wanted + second * (vectors @ vectors.t())
        return target, wanted, [batch.words[1].means(s) for s in states]

    def passage_targets(
        self, batch: PassageBatch
    ) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        """Target vectors of queries and passages, wanted word states of the passages."""
        query = self._teacher.answer(batch.questions[0])
        passage, states = self._teacher.answer_with_states(batch.questions[1], PASSAGE_WORD_LAYERS)
        words = [batch.words[1].means(s) for s in states]
        if batch.english is None:
            return query, passage, words
        share = self._settings.english_share
        english_q, english_p = map(self._teacher.answer, batch.english)
        return (
            unit((1 - share) * query + share * english_q),
            unit((1 - share) * passage + share * english_p),
            words,
        )

    def _words(self, packed: Packed, prefix: str, question: Question) -> tuple[Bags, Bags]:
        own, full = self._tokens.characters
        front = self._tokens.teacher_prefixes[question.prefix]
        student, teacher = common_words(
            Side(packed, 1 + len(self._tokens.student_prefixes[prefix]), own),
            Side(question.packed, 1 + len(front), full),
        )
        return to_bags(student, self._device), to_bags(teacher, self._device)

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
