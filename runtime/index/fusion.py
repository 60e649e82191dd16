"""One ranking out of several, by ranks alone."""

from collections.abc import Mapping, Sequence

RANK_CONSTANT = 60
"""k of reciprocal rank fusion (Cormack, Clarke and Buettcher 2009)."""


def fuse(
    lists: Sequence[Sequence[bytes]], cosines: Mapping[bytes, float], order: Mapping[bytes, int]
) -> list[tuple[bytes, float]]:
    """Return every key with its score, best first.

    score = sum over lists of 1 / (60 + rank), rank from 1; a key that a list lacks gets nothing
    from it. Ties go to the higher cosine, then to the lower `order`.
    """
    scores: dict[bytes, float] = {}
    for ranked in lists:
        for rank, key in enumerate(ranked, start=1):
            scores[key] = scores.get(key, 0.0) + 1.0 / (RANK_CONSTANT + rank)
    return sorted(
        scores.items(),
        key=lambda item: (-item[1], -cosines.get(item[0], -2.0), order.get(item[0], 0)),
    )
