"""Measures against cases worked out by hand."""

import math

import numpy as np
import pytest

from embedge.runtime.quality.measures import bitext_hits, retrieval_measures, spearman

# Ranking d1 d2 d3 d4; relevant are d2 (gain 1) and d4 (gain 2); d9 is relevant but not found.
RUN = {"q": {"d1": 0.9, "d2": 0.8, "d3": 0.7, "d4": 0.6}}
QRELS = {"q": {"d1": 0, "d2": 1, "d4": 2, "d9": 1}}


def one(name: str) -> float:
    return float(retrieval_measures(QRELS, RUN, ["q"])[name][0])


def test_ndcg_divides_discounted_gains_by_those_of_the_ideal_ranking():
    gained = 1 / math.log2(3) + 2 / math.log2(5)
    ideal = 2 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
    assert one("nDCG@10") == pytest.approx(gained / ideal, abs=1e-9)


def test_average_precision_counts_relevant_documents_that_were_not_found():
    assert one("MAP") == pytest.approx((1 / 2 + 2 / 4) / 3, abs=1e-9)


def test_reciprocal_rank_is_that_of_the_first_relevant_document():
    assert one("MRR@10") == pytest.approx(1 / 2)


def test_recall_is_the_share_of_relevant_documents_found():
    assert one("recall@10") == pytest.approx(2 / 3)


def test_cutoffs_ignore_what_comes_after_them():
    others = {f"x{i:03d}": 1 - i / 1000 for i in range(150)}
    run = {"q": others | {"rank 13": 0.9885, "rank 122": 0.8805}}
    qrels = {"q": {"rank 13": 1, "rank 122": 1}}
    values = {name: v[0] for name, v in retrieval_measures(qrels, run, ["q"]).items()}
    assert values["nDCG@10"] == values["recall@10"] == values["MRR@10"] == 0
    assert values["recall@100"] == pytest.approx(1 / 2)
    rank_of_first, rank_of_second = 13, 122
    assert values["MAP"] == pytest.approx((1 / rank_of_first + 2 / rank_of_second) / 2)


def test_queries_keep_their_order_and_one_without_results_scores_nothing():
    qrels = {"b": {"d1": 1}, "a": {"d1": 1}}
    values = retrieval_measures(qrels, {"a": {"d1": 1.0}}, ["b", "a"])
    np.testing.assert_array_equal(values["nDCG@10"], [0, 1])


def test_a_run_without_any_result_scores_nothing():
    values = retrieval_measures(QRELS, {}, ["q"])
    assert all(value[0] == 0 for value in values.values())


def test_spearman_without_ties_follows_the_textbook_formula():
    gold, predicted = [1.0, 2, 3, 4, 5], [2.0, 1, 4, 3, 5]
    squared_rank_differences = 1 + 1 + 1 + 1 + 0
    expected = 1 - 6 * squared_rank_differences / (5 * (25 - 1))
    assert spearman(np.array([gold]), np.array([predicted]))[0] == pytest.approx(expected)


def test_spearman_gives_ties_their_mean_rank():
    # Ranks of gold 1.5 1.5 3 4, of predicted 1 2 3.5 3.5; both centred on 2.5:
    # products 1.5 + 0.5 + 0.5 + 1.5 = 4, squares 1 + 1 + 0.25 + 2.25 and 2.25 + 0.25 + 1 + 1.
    found = spearman(np.array([[0.0, 0, 3, 5]]), np.array([[0.1, 0.2, 0.9, 0.9]]))[0]
    assert found == pytest.approx(4 / 4.5)


def test_spearman_sees_only_ranks_and_works_row_by_row():
    x = np.array([[1.0, 2, 3], [1, 2, 3]])
    y = np.array([[1.0, 100, 1000], [0.3, 0.2, 0.1]])
    np.testing.assert_allclose(spearman(x, y), [1, -1])


def test_spearman_of_a_constant_is_zero_instead_of_undefined():
    assert spearman(np.array([[1.0, 2, 3]]), np.array([[5.0, 5, 5]]))[0] == 0


def test_bitext_counts_nearest_neighbours_both_ways():
    # Sentences at 0, 40 and 90 degrees; translations at 5, 20 and 85: 40 is nearest to 20, 20 is
    # nearest to 40 or 0 alike by 20 degrees, so make it 15: nearer to 0.
    def at(degrees: list[float]) -> np.ndarray:
        angle = np.radians(degrees)
        return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)

    forward, backward = bitext_hits(at([0, 40, 90]), at([5, 15, 85]))
    np.testing.assert_array_equal(forward, [True, True, True])
    np.testing.assert_array_equal(backward, [True, False, True])


def test_bitext_blocks_do_not_change_the_result():
    rng = np.random.default_rng(0)
    first = rng.normal(size=(2500, 8)).astype(np.float32)
    second = first + rng.normal(size=first.shape).astype(np.float32)
    forward, backward = bitext_hits(first, second)
    scores = first @ second.T
    np.testing.assert_array_equal(forward, scores.argmax(axis=1) == np.arange(2500))
    np.testing.assert_array_equal(backward, scores.argmax(axis=0) == np.arange(2500))
