"""Exact search over a corpus that passes by in blocks."""

import numpy as np

from embedge.runtime.quality import ranking
from embedge.runtime.quality.ranking import TopDocuments


def unit(rng: np.random.Generator, n: int) -> np.ndarray:
    vectors = rng.normal(size=(n, 16)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_blocks_give_the_same_documents_as_one_full_sort(monkeypatch):
    monkeypatch.setattr(ranking, "_MAX_SCORES", 7 * 60)
    rng = np.random.default_rng(0)
    queries, documents = unit(rng, 7), unit(rng, 500)
    ids = [f"d{i}" for i in range(500)]
    top = TopDocuments(queries, 20)
    for begin in range(0, 500, 130):
        top.add(ids[begin : begin + 130], documents[begin : begin + 130])
    run = top.run([f"q{i}" for i in range(7)])
    scores = queries @ documents.T
    for i, row in enumerate(scores):
        best = np.argsort(-row)[:20]
        assert set(run[f"q{i}"]) == {ids[j] for j in best}
        for j in best:
            assert abs(run[f"q{i}"][ids[j]] - row[j]) < 1e-6


def test_a_corpus_smaller_than_the_depth_is_returned_whole():
    rng = np.random.default_rng(1)
    top = TopDocuments(unit(rng, 2), 1000)
    top.add(["a", "b", "c"], unit(rng, 3))
    assert [set(found) for found in top.run(["q", "r"]).values()] == [{"a", "b", "c"}] * 2
