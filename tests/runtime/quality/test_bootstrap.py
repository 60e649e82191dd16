"""The paired bootstrap: fixed draws, coverage, and what pairing is for."""

import numpy as np

from embedge.runtime.quality.bootstrap import (
    RESAMPLES,
    interval,
    resampled,
    resampled_mean,
    resamples,
)

IDS = [f"q{i}" for i in range(200)]


def test_draws_are_the_same_in_every_run_and_depend_on_the_ids():
    first = np.concatenate(list(resamples(IDS)))
    assert first.shape == (RESAMPLES, 200)
    np.testing.assert_array_equal(first, np.concatenate(list(resamples(IDS))))
    assert not np.array_equal(first, np.concatenate(list(resamples(IDS[::-1]))))


def test_draws_are_uniform_with_replacement():
    rows = np.concatenate(list(resamples(IDS)))
    counts = np.bincount(rows.ravel(), minlength=200)
    expected, sigma = RESAMPLES, np.sqrt(RESAMPLES)
    assert np.abs(counts - expected).max() < 5 * sigma
    assert len(np.unique(rows[0])) < 200


def test_a_large_test_set_is_drawn_in_blocks_of_bounded_size():
    blocks = [block.shape for block in resamples([str(i) for i in range(5000)])]
    assert sum(rows for rows, _ in blocks) == RESAMPLES
    assert max(rows * items for rows, items in blocks) <= 1 << 20


def test_interval_of_a_mean_agrees_with_the_normal_approximation():
    values = np.random.default_rng(1).normal(size=200)
    low, high = interval(resampled_mean(IDS, values))
    half = 1.96 * values.std(ddof=1) / np.sqrt(200)
    np.testing.assert_allclose([low, high], values.mean() + np.array([-half, half]), atol=0.02)


def test_pairing_narrows_the_interval_of_a_difference():
    rng = np.random.default_rng(2)
    hard = rng.normal(size=200)
    better = hard + 0.05 + 0.01 * rng.normal(size=200)
    low, high = interval(resampled_mean(IDS, better) - resampled_mean(IDS, hard))
    assert 0.04 < low < high < 0.06


def test_equal_scores_differ_by_exactly_nothing():
    values = np.random.default_rng(3).normal(size=200)
    assert interval(resampled_mean(IDS, values) - resampled_mean(IDS, values)) == (0, 0)


def test_any_statistic_of_index_rows_can_be_resampled():
    values = np.arange(200.0)
    medians = resampled(IDS, lambda rows: np.median(values[rows], axis=1))
    assert medians.shape == (RESAMPLES,)
    low, high = interval(medians)
    assert low < 99.5 < high
