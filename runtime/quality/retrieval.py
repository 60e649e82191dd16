"""Retrieval: queries against a corpus, judged by relevance."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from embedge.models.errors import InputError
from embedge.runtime.quality.bm25 import Bm25
from embedge.runtime.quality.bootstrap import resampled_mean
from embedge.runtime.quality.measures import (
    DEPTH,
    RETRIEVAL_MEASURES,
    Qrels,
    Run,
    retrieval_measures,
)
from embedge.runtime.quality.ranking import TopDocuments
from embedge.runtime.quality.task import Encode, Kind, Outcome, Role

_BLOCK = 4096  # documents read and ranked at once


@dataclass(frozen=True)
class RetrievalTask:
    """A BEIR-like task, whatever files it comes from.

    Attributes:
        queries: reads query id -> text.
        corpus: yields (document id, title and text) pairs; millions of them stream.
        qrels: reads the judgements.
    """

    name: str
    group: str
    languages: tuple[str, ...]
    queries: Callable[[], Mapping[str, str]]
    corpus: Callable[[], Iterator[tuple[str, str]]]
    qrels: Callable[[], Qrels]
    kind: Kind = "retrieval"

    def texts(self) -> Iterator[tuple[Role, str]]:
        """Yield the judged queries, then the corpus."""
        for text in self._judged()[0].values():
            yield "query", text
        for _, text in self.corpus():
            yield "document", text

    def evaluate(self, encode: Encode) -> Outcome:
        """Rank the corpus by cosine."""
        queries, qrels = self._judged()
        top = TopDocuments(encode(list(queries.values()), "query"), DEPTH)
        corpus = self.corpus()
        while block := list(itertools.islice(corpus, _BLOCK)):
            top.add([document for document, _ in block], encode([t for _, t in block], "document"))
        return _outcome(top.run(list(queries)), qrels)

    def evaluate_bm25(self) -> Outcome:
        """Rank the corpus by BM25."""
        queries, qrels = self._judged()
        index = Bm25(self.corpus())
        return _outcome(
            {query: index.search(text, DEPTH) for query, text in queries.items()}, qrels
        )

    def crossed_with(self, corpus_of: "RetrievalTask") -> "RetrievalTask":
        """Return these queries against the corpus of another language."""
        source, target = self.languages[0], corpus_of.languages[0]
        return replace(
            self,
            name=f"{self.group}/{source}-{target}",
            group=f"{self.group} (cross-lingual)",
            languages=(source, target),
            corpus=corpus_of.corpus,
        )

    def _judged(self) -> tuple[dict[str, str], Qrels]:
        """Return the queries that have a relevant document, and their judgements."""
        texts, qrels = self.queries(), self.qrels()
        relevant = [query for query, judged in qrels.items() if any(g > 0 for g in judged.values())]
        missing = [query for query in relevant if query not in texts]
        if missing or not relevant:
            what = f"{len(missing)} judged queries have no text, first {missing[0]!r}" if missing \
                else "no query has a relevant document"  # fmt: skip
            raise InputError(f"{self.name}: {what}; the judgements belong to other queries")
        return {q: texts[q] for q in relevant}, {q: qrels[q] for q in relevant}


def _outcome(run: Run, qrels: Qrels) -> Outcome:
    ids = list(qrels)
    # Where queries are documents themselves (ArguAna, Quora), finding oneself is no answer,
    # unless the judgements name it (BEIR's rule, and data sets that number both sides alike).
    others = {
        query: {d: score for d, score in run[query].items() if d != query or d in qrels[query]}
        for query in ids
    }
    values = retrieval_measures(qrels, others, ids)
    return Outcome(
        n_items=len(ids),
        measures={name: float(np.mean(values[name])) for name in RETRIEVAL_MEASURES},
        samples=resampled_mean(ids, values[RETRIEVAL_MEASURES[0]]),
    )
