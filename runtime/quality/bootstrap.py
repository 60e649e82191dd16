"""Paired bootstrap: how much of a difference is chance of the test set."""

import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
CONFIDENCE = 0.95

_SEED = 20
# Numbers drawn at once: 8 MB of indices, whatever the size of the test set.
_BLOCK = 1 << 20

Float64 = NDArray[np.float64]


def resamples(item_ids: Sequence[str]) -> Iterator[NDArray[np.int64]]:
    """Yield blocks of index rows (b, items), `RESAMPLES` rows in all, drawn with replacement.

    The draws depend on the ids alone. Two configurations therefore meet the same resamples, and so
    do parallel test sets in several languages (same ids): an average over them resamples whole
    questions, not translations of one question as if they were independent.
    """
    digest = hashlib.sha256("\n".join(item_ids).encode("utf-8")).digest()
    rng = np.random.default_rng([_SEED, int.from_bytes(digest[:8], "big")])
    n = len(item_ids)
    step = max(1, _BLOCK // max(n, 1))
    for begin in range(0, RESAMPLES, step):
        yield rng.integers(0, n, size=(min(step, RESAMPLES - begin), n))


def resampled(
    item_ids: Sequence[str], statistic: Callable[[NDArray[np.int64]], Float64]
) -> Float64:
    """Return `statistic`, a function of index rows (b, items) to (b,), on every resample."""
    return np.concatenate([statistic(rows) for rows in resamples(item_ids)])


def resampled_mean(item_ids: Sequence[str], values: Float64) -> Float64:
    """Return the mean of `values` (items,) on every resample, (RESAMPLES,)."""
    return resampled(item_ids, lambda rows: values[rows].mean(axis=1))


def interval(samples: Float64) -> tuple[float, float]:
    """Return the percentile interval of `samples` at `CONFIDENCE` (Efron and Tibshirani 1993, 13).

    On paired differences an interval without zero means: not explained by the choice of items.
    """
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return float(low), float(high)
