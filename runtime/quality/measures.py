"""Measures: retrieval through ir-measures, rank correlation through SciPy, bitext accuracy here."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Qrels = Mapping[str, Mapping[str, int]]
"""Query id -> document id -> relevance; 0 is judged not relevant."""

Run = Mapping[str, Mapping[str, float]]
"""Query id -> document id -> score."""

# Documents per query that are ranked: the usual depth of trec_eval, so MAP is over 1,000.
DEPTH = 1000

# Name in ir-measures -> name in our tables, the main measure first. Gains of nDCG are the
# relevances themselves, ties go by document id: both as in trec_eval and BEIR.
_NAMES = {
    "nDCG@10": "nDCG@10", "R@10": "recall@10", "R@100": "recall@100", "RR@10": "MRR@10", "AP": "MAP"
}  # fmt: skip
RETRIEVAL_MEASURES: tuple[str, ...] = tuple(_NAMES.values())


def retrieval_measures(
    qrels: Qrels, run: Run, query_ids: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """Return each measure per query, (queries,), in the order of `query_ids`.

    A query without results scores 0.
    """
    import ir_measures

    wanted = {ir_measures.parse_measure(theirs): ours for theirs, ours in _NAMES.items()}
    place = {query: i for i, query in enumerate(query_ids)}
    values = {ours: np.zeros(len(query_ids)) for ours in _NAMES.values()}
    judged = {query: dict(qrels[query]) for query in query_ids}
    ranked = {query: dict(run[query]) for query in query_ids if run.get(query)}
    if not ranked:
        return values
    for metric in ir_measures.iter_calc(list(wanted), judged, ranked):
        values[wanted[metric.measure]][place[metric.query_id]] = metric.value
    return values


def spearman(gold: NDArray[np.float64], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Spearman's rank correlation of each row; ties share their mean rank.

    Args:
        gold: (rows, items).
        predicted: (rows, items).

    Returns:
        (rows,); 0 where one side is constant, for which it is not defined.
    """
    from scipy.stats import rankdata

    x, y = (rankdata(side, axis=1) - (side.shape[1] + 1) / 2 for side in (gold, predicted))
    norm = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    product = (x * y).sum(axis=1)
    correlation: NDArray[np.float64] = np.divide(
        product, norm, out=np.zeros_like(product), where=norm > 0
    )
    return correlation


def bitext_hits(
    first: NDArray[np.float32], second: NDArray[np.float32]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Say for each sentence whether its translation is its nearest neighbour by cosine.

    Args:
        first: (n, dim) unit vectors.
        second: (n, dim) unit vectors of the translations, line by line.

    Returns:
        (n,) for first to second, and (n,) for second to first.
    """
    return _nearest_is_own(first, second), _nearest_is_own(second, first)


def _nearest_is_own(
    rows: NDArray[np.float32], columns: NDArray[np.float32], block: int = 1024
) -> NDArray[np.bool_]:
    hits = [
        (rows[begin : begin + block] @ columns.T).argmax(axis=1)
        == np.arange(begin, min(begin + block, len(rows)))
        for begin in range(0, len(rows), block)
    ]
    return np.concatenate(hits)
